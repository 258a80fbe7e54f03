"""Plates with wells and fields, written by ome-zarr."""

import inspect
import warnings

import numpy as np
import zarr


def write_plate(path, version="0.5", *, shards=False, value_of=None):
    """Write wells A/1 and B/12 with the fields 0 and 1: 0, 1, 10, 11, or what is given of these."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about parts that older ones need
        from ome_zarr.format import FormatV04, FormatV05
        from ome_zarr.scale import Scaler
        from ome_zarr.writer import write_image, write_plate_metadata, write_well_metadata

        sizes = {"scale": {"y": 0.5, "x": 0.25}, "scale_factors": (2,)}
        if "scale" not in inspect.signature(write_image).parameters:  # ome-zarr before 0.14
            steps = [[{"type": "scale", "scale": [0.5 * by, 0.25 * by]}] for by in (1, 2)]
            sizes = {"scaler": Scaler(max_layer=1), "coordinate_transformations": steps}
        fmt = {"0.4": FormatV04, "0.5": FormatV05}[version]()
        wells = ["A/1", "B/12"]
        plate = zarr.open_group(str(path), mode="w", zarr_format=fmt.zarr_format)
        write_plate_metadata(plate, ["A", "B"], ["1", "12"], wells, fmt=fmt)
        for at, well in enumerate(wells):
            group = plate.require_group(well)
            write_well_metadata(group, ["0", "1"], fmt=fmt)
            for field in (0, 1):
                pixels = np.full((32, 48), 10 * at + field, np.uint8)
                options = {"chunks": (8, 8)} | ({"shards": (32, 48)} if shards else {})
                write_image(
                    pixels if value_of is None else value_of(10 * at + field),
                    group.require_group(str(field)),
                    axes="yx",
                    fmt=fmt,
                    storage_options=options,
                    **sizes,
                )
