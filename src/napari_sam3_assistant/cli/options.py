"""Options that several commands have, and how they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import numbers, path_of, whole_numbers
from napari_sam3_assistant.core.options import DEFAULT_THRESHOLD, TileOptions

if TYPE_CHECKING:
    import argparse


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add what chooses the engine."""
    engine = parser.add_argument_group("engine")
    engine.add_argument(
        "--engine",
        help="see 'napari-sam3 doctor' (default: the one that reads the model folder, "
        "without a folder the built-in one)",
    )
    engine.add_argument("--model-folder", type=path_of, metavar="FOLDER", help="the SAM 3 weights")
    engine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    engine.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        help="detection threshold, 0 to 1 (default: %(default)s)",
    )


def engine_arguments(chosen: argparse.Namespace, *, video: bool = False) -> dict[str, Any]:
    """Return the engine that was chosen, as the functions of the API take it.

    Parameters
    ----------
    chosen : Namespace
        What was typed.
    video : bool
        Whether weights for 3D and video only will do.
    """
    return {
        "engine": chosen.engine or api.engine_for(chosen.model_folder, video=video),
        "model_folder": chosen.model_folder,
        "device": chosen.device,
        "threshold": chosen.threshold,
    }


def add_plane(parser: argparse.ArgumentParser, leading: str = "each leading axis") -> None:
    """Add what chooses the plane and its contrast.

    Parameters
    ----------
    parser : ArgumentParser
        The command.
    leading : str
        Which axes need an index.
    """
    plane = parser.add_argument_group("what to look at")
    plane.add_argument("--plane", metavar="I,J,...", help=f"index along {leading}")
    add_series(plane)
    plane.add_argument("--channel-axis", type=int, metavar="AXIS", help="default: found out")
    plane.add_argument("--channel", type=int, help="one channel (default: all together)")
    plane.add_argument("--contrast", metavar="LOW,HIGH", help="intensities of black and white")


def add_series(group: argparse._ArgumentGroup) -> None:
    """Add what chooses an image of a file that holds several."""
    group.add_argument(
        "--series",
        type=int,
        metavar="N",
        help="which image of a file that holds several, from 0 (default: the largest)",
    )


def plane_arguments(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the plane that was chosen, as the functions of the API take it.

    Raises
    ------
    PromptError
        If numbers can't be read.
    """
    contrast = None
    if chosen.contrast is not None:
        low, high = numbers(chosen.contrast, (2,), "--contrast")
        contrast = (low, high)
    plane = None if chosen.plane is None else whole_numbers(chosen.plane, (), "--plane")
    return {
        "plane": plane,
        "contrast": contrast,
        "channel_axis": chosen.channel_axis,
        "channel": chosen.channel,
    }


def add_tiles(parser: argparse.ArgumentParser) -> None:
    """Add how a large image is cut."""
    tiles = parser.add_argument_group("tiles")
    tiles.add_argument(
        "--tile",
        type=int,
        default=TileOptions().size,
        metavar="PIXELS",
        help="side of a tile (default: %(default)s)",
    )
    tiles.add_argument(
        "--overlap",
        type=float,
        default=TileOptions().overlap,
        metavar="SHARE",
        help="what two tiles have in common, 0 to 0.5 (default: %(default)s)",
    )
