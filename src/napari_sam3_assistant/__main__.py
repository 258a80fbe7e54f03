"""``python -m napari_sam3_assistant``: the command line."""

import sys

from napari_sam3_assistant.cli import main

if __name__ == "__main__":
    sys.exit(main())
