"""Tiny diffusion pipelines with random weights, in folders as operators have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

Kind = Literal["image-to-image", "instruct", "text-to-image"]


def write_editor(folder: Path, kind: Kind = "image-to-image", *, size: int = 16) -> Path:
    """A pipeline that works on pictures of 4 · `size` pixels; the same weights each time. The folder."""
    import diffusers
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    parts: dict[str, Any] = {
        "unet": diffusers.UNet2DConditionModel(
            sample_size=size,
            in_channels=8 if kind == "instruct" else 4,
            out_channels=4,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
        ),
        "vae": diffusers.AutoencoderKL(
            block_out_channels=(4, 8, 8),
            norm_num_groups=2,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=4,
        ),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(_vocabulary()),
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=77,
                bos_token_id=len(_vocabulary()) - 2,
                eos_token_id=len(_vocabulary()) - 1,
                pad_token_id=len(_vocabulary()) - 1,
            )
        ),
        "tokenizer": CLIPTokenizer.from_pretrained(str(_write_tokenizer(folder / "words"))),
        "scheduler": diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1, beta_schedule="scaled_linear"),
    }
    made = {
        "image-to-image": diffusers.StableDiffusionImg2ImgPipeline,
        "instruct": diffusers.StableDiffusionInstructPix2PixPipeline,
        "text-to-image": diffusers.StableDiffusionPipeline,
    }[kind]
    pipeline = made(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.save_pretrained(str(folder))
    return folder


def _vocabulary() -> list[str]:
    letters = [chr(code) for code in range(33, 127)]
    return [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]


def _write_tokenizer(folder: Path) -> Path:
    """Each letter is a token."""
    folder.mkdir(parents=True)
    vocabulary = {token: number for number, token in enumerate(_vocabulary())}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
