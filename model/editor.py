"""Edits of a photo by words, by a diffusion model from the operator's disk.

Two kinds of pipelines of the library diffusers: image-to-image (SDEdit, Meng et al. 2022: noise is added to the photo
and taken away again under the words) and InstructPix2Pix (Brooks et al. 2023: trained on instructions). Nothing is
downloaded, and no code of the folder is run. diffusers and transformers are imported within `Editor.load`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import torch
from PIL import Image

from model.edits import SECONDS, STEPS
from model.errors import EditRefused, EditTextTooLong, EditTooSlow, OutOfMemory
from model.network.device import choose_device

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

log = logging.getLogger(__name__)

INDEX: Final = "model_index.json"
KINDS: Final = {  # the class that a folder names → the pipeline that edits
    "StableDiffusionPipeline": "StableDiffusionImg2ImgPipeline",  # text to image, of the same parts
    "StableDiffusionImg2ImgPipeline": "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInstructPix2PixPipeline": "StableDiffusionInstructPix2PixPipeline",
}
LIBRARIES: Final = ("diffusers", "transformers", "stable_diffusion")  # whose classes a folder may name
LONGEST_SIDE: Final = 768  # pixels
SHORTEST_SIDE: Final = 64
MULTIPLE: Final = 8
GUIDANCE: Final = 7.5  # towards the words


class EditModelError(Exception):
    """EDIT_MODEL cannot be used; the message says why and what to do."""


class Editor:
    """A pipeline that edits photos. One edit at a time, on any thread."""

    def __init__(self, pipeline: DiffusionPipeline, *, steps: int = STEPS, seconds: float = SECONDS) -> None:
        """`steps`: of denoising. `seconds`: that one edit may take."""
        self._pipeline: Any = pipeline
        self._steps = steps
        self._seconds = seconds
        self._instructed = type(pipeline).__name__ == KINDS["StableDiffusionInstructPix2PixPipeline"]

    @classmethod
    def load(cls, folder: Path, device: str = "auto", *, steps: int = STEPS, seconds: float = SECONDS) -> Self:
        """Load a folder as `DiffusionPipeline.save_pretrained` writes it; in half precision on a GPU.

        Raises EditModelError, and ValueError for a device that is not there.
        """
        name, variant = check_folder(folder)
        place = choose_device(device)
        try:
            import diffusers
            import transformers
        except ImportError as error:
            raise EditModelError(f"EDIT_MODEL needs what requirements-edit.txt lists ({error})") from None
        for library in (diffusers.utils.logging, transformers.utils.logging):
            library.set_verbosity_error()  # what they warn of quotes the words of people
            library.disable_progress_bar()
        try:
            pipeline = getattr(diffusers, name).from_pretrained(
                str(folder),
                dtype=torch.float16 if place.type == "cuda" else torch.float32,
                variant=variant,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                low_cpu_mem_usage=False,
            )
        except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
            raise EditModelError(f"EDIT_MODEL: {folder} cannot be loaded: {error}") from error
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline.to(place), steps=steps, seconds=seconds)

    def edit(
        self, photo: Image.Image, text: str, strength: float, seed: int, step: Callable[[float], None]
    ) -> Image.Image:
        """The photo, in the model's size, changed as `text` says. `strength`: in (0, 1].

        `step` is called after each step of denoising with the share that is done; what it raises ends the edit. Raises
        EditTextTooLong, EditTooSlow, EditRefused, and OutOfMemory.
        """
        self._check_length(text)
        began = time.monotonic()

        def stepped(pipeline: Any, number: int, _time: object, tensors: dict[str, Any]) -> dict[str, Any]:
            done = (number + 1) / pipeline.num_timesteps
            step(done)
            if done < 1 and time.monotonic() - began > self._seconds:
                raise EditTooSlow(f"{done:.0%} after {self._seconds:.0f} s")
            return tensors

        how = {"image_guidance_scale": 2.1 - strength} if self._instructed else {"strength": strength}
        try:
            found = self._pipeline(
                prompt=text,
                image=photo.resize(self.size_for(photo), Image.Resampling.LANCZOS),
                num_inference_steps=self._steps,
                guidance_scale=GUIDANCE,
                generator=torch.Generator("cpu").manual_seed(seed),
                callback_on_step_end=stepped,
                **how,
            )
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise OutOfMemory("the GPU has too little memory for an edit") from error
        if any(found.nsfw_content_detected or ()):
            raise EditRefused("the model's safety checker refused the picture")
        edited: Image.Image = found.images[0]
        return edited

    def size_for(self, photo: Image.Image) -> tuple[int, int]:
        """Width and height in which a photo is edited.

        Its shorter side becomes the side that the model was trained on, unless the longer one would be longer than
        `LONGEST_SIDE`, or half as long again; both are multiples of 8.
        """
        native = self._pipeline.unet.config.sample_size * self._pipeline.vae_scale_factor
        longest = min(LONGEST_SIDE, native * 3 // 2)
        scale = min(native / min(photo.size), longest / max(photo.size))
        width, height = (
            min(longest, max(SHORTEST_SIDE, round(scale * side / MULTIPLE) * MULTIPLE)) for side in photo.size
        )
        return width, height

    def _check_length(self, text: str) -> None:
        """Raises EditTextTooLong: the pipeline would leave out the end of the text without a word."""
        tokenizer = self._pipeline.tokenizer
        most = min(tokenizer.model_max_length, self._pipeline.text_encoder.config.max_position_embeddings)
        count = len(tokenizer(text, truncation=False, verbose=False).input_ids)
        if count > most:
            raise EditTextTooLong(f"{count} tokens, of which the network reads {most}")


def check_folder(folder: Path) -> tuple[str, str | None]:
    """The pipeline that a folder is for, and which variant of its weights is there. Raises EditModelError."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EditModelError(f"EDIT_MODEL: {folder} is no folder of diffusers: {INDEX}: {error}") from error
    name = index.get("_class_name") if isinstance(index, dict) else None
    if name not in KINDS:
        known = ", ".join(KINDS)
        raise EditModelError(f"EDIT_MODEL: {folder} is of the class {name!r}; these edit: {known}")
    parts = {part: source for part, source in index.items() if isinstance(source, list)}
    foreign = [part for part, source in parts.items() if source[0] not in (None, *LIBRARIES)]
    if foreign:
        raise EditModelError(f"EDIT_MODEL: {folder} brings code of its own for {foreign[0]}, which is not run")
    unet = folder / "unet"
    for variant in (None, "fp16"):
        file = unet / ".".join(["diffusion_pytorch_model", *filter(None, [variant]), "safetensors"])
        if file.is_file():
            return KINDS[name], variant
    raise EditModelError(f"EDIT_MODEL: {unet} has no weights as safetensors; other files are not read")
