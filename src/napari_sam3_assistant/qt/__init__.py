"""Parts of Qt that both windows use."""
