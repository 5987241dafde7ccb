"""Routes that hand a session out as files, and its map."""

from __future__ import annotations

from fastapi import APIRouter

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["workbench"])
