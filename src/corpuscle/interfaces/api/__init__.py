"""The HTTP service behind the workbench and for programs; FastAPI and pydantic are used here alone."""
