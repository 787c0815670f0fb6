"""Compares what clients were acknowledged and shown with what is stored."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from completions.models import Run
from tests.chaos.cluster import database
from tests.chaos.picture_reader import PictureReader, stored_pictures
from tests.chaos.readers import Disagreement, Pick, Reader
from tests.chaos.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Stored:
    """All runs of some users by their id, and the pictures by the id of their message."""

    runs: dict[str, Run]
    pictures: dict[uuid.UUID, bytes]

    @classmethod
    async def of(cls, user_ids: Sequence[uuid.UUID]) -> Stored:
        runs = {str(run.pk): run for run in await database(_runs, user_ids)}
        return cls(runs, await database(stored_pictures, user_ids))

    async def compare(self, reader: Reader, verdict: Verdict, where: str, pick: Pick) -> Run | None:
        """Judge an acknowledged question and what its client was shown; return its run, if it is there."""
        verdict.facts["acknowledged"] += 1
        verdict.facts["characters shown"] += len(reader.text)
        run = self.runs.get(reader.run_id)
        if run is None or run.message is None or run.message.parent is None:
            verdict.broken(f"{where}: acknowledged, and not there")
            return None
        verdict.expect(run.message.parent.content == reader.prompt, f"{where}: the question is another one")
        if isinstance(reader, PictureReader):
            verdict.facts["pictures"] += 1
            verdict.expect(self.pictures.get(run.message.parent.pk) == reader.picture, f"{where}: the picture is lost")
        stored = run.message.content
        verdict.expect(stored.startswith(reader.text), f"{where}: shown {len(reader.text)}, stored {len(stored)}")
        if reader.ended == "complete":
            ends = reader.untold or run.state == "complete"
            verdict.expect(ends and stored == reader.text, f"{where}: heard complete, {run.state}")
        try:
            await reader.check(pick)
        except (Disagreement, TimeoutError) as error:
            verdict.broken(f"{where}: {type(error).__name__} {error}")
        return run


def _runs(user_ids: Sequence[uuid.UUID]) -> list[Run]:
    return list(Run.objects.filter(user__in=user_ids).select_related("message__parent"))


def pid_of(run: Run) -> int:
    """Return the id of the process that wrote, or writes, the answer; 0 if none has begun."""
    return int(run.worker.split(":")[1]) if run.worker else 0
