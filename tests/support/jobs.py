"""Jobs as tests put them, and the tasks of jobs that a test has received."""

from __future__ import annotations

import dataclasses
from typing import Any

from model.serving.jobs import Job
from model.serving.tasks.album import AlbumTask
from model.serving.tasks.base import Task
from model.serving.tasks.clip import ClipTask
from model.serving.tasks.colours import ColoursTask
from model.serving.tasks.edit import EditTask
from model.serving.tasks.photo import PhotoTask

ENVELOPE = ("request", "place")


def make_job(name: str, user: int = 1, task: type[Task] = PhotoTask, **settings: Any) -> Job:
    """A job; `settings` are its own or its task's."""
    own = {key: settings.pop(key) for key in ENVELOPE if key in settings}
    return Job(name, user, task(**settings), **own)


def changed(job: Job, name: str, **settings: Any) -> Job:
    """The same job under another id, with other settings of its own or of its task."""
    own = {key: settings.pop(key) for key in ENVELOPE if key in settings}
    return dataclasses.replace(job, id=name, task=dataclasses.replace(job.task, **settings), **own)


def photo_of(job: Job) -> PhotoTask:
    assert isinstance(job.task, PhotoTask)
    return job.task


def clip_of(job: Job) -> ClipTask:
    assert isinstance(job.task, ClipTask)
    return job.task


def album_of(job: Job) -> AlbumTask:
    assert isinstance(job.task, AlbumTask)
    return job.task


def colours_of(job: Job) -> ColoursTask:
    assert isinstance(job.task, ColoursTask)
    return job.task


def edit_of(job: Job) -> EditTask:
    assert isinstance(job.task, EditTask)
    return job.task
