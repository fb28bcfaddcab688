"""The injector: it watches folders, decides about each file that arrives, and starts work for the good ones."""
