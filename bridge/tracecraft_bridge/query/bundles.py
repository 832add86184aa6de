"""Verbs about bundles: make one, take one in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracecraft_bridge.artifacts.blobs import Blobs
from tracecraft_bridge.bundles.importing import Conflict, Importer
from tracecraft_bridge.bundles.making import Maker
from tracecraft_bridge.query import runs
from tracecraft_bridge.query.refusal import conflict, not_found
from tracecraft_bridge.query.state import refusals
from tracecraft_core.bundle.layout import MEDIA_TYPE
from tracecraft_core.queries import BundleAnswer

if TYPE_CHECKING:
    from tracecraft_bridge.query.asked import Asked
    from tracecraft_core.queries import Imported, ImportQuestion, RunQuestion


def maker(asked: Asked) -> Maker:
    """What makes bundles for this bridge."""
    return Maker(asked.settings.postgres, asked.store, asked.settings.bundle_seed)


async def runs_bundle(asked: Asked, question: RunQuestion) -> BundleAnswer:
    """``runs.bundle``."""
    async with asked.pool.connection() as connection:
        run = await runs.resolve(connection, asked.project, question.run)
    with refusals():
        bundle = await maker(asked).make(asked.project, run)
        if bundle is None:
            raise not_found("run", run, "it was deleted meanwhile")
        async with asked.pool.connection() as connection:
            name = f"{run}.tcb"
            url = await Blobs(asked.store).url(connection, bundle.sha256, name=name, media_type=MEDIA_TYPE)
    return BundleAnswer(run=run, bundle=bundle, url=url.url, expires=url.expires)


async def runs_import(asked: Asked, question: ImportQuestion) -> Imported:
    """``runs.import``."""
    with refusals():
        try:
            return await Importer(asked.settings.postgres, asked.store, maker(asked)).run(
                asked.project, question.sha256
            )
        except Conflict as error:
            raise conflict(str(error), error.hint) from None
