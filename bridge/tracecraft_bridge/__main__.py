"""``python -m tracecraft_bridge``."""

from tracecraft_bridge.main import main

if __name__ == "__main__":
    main()
