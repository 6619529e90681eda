"""How a model is tuned, as a value. Needs no torch: plans are made of recipes too."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from crosstune.tasks.example import Sampler


class Recipe(BaseModel):
    """One way to tune; every field but the name decides the result and stands in the key.

    Attributes:
        name: Its word in the matrix.
        method: `lora` (adapter, base frozen) or `full` (all weights, fp32 masters).
        rank: LoRA rank; unused by full tuning, as are alpha, dropout and target_modules.
        alpha: LoRA scale numerator; the update is multiplied by alpha / rank.
        dropout: Dropout on the adapter's input, in [0, 1).
        target_modules: PEFT's `all-linear`, or names of modules.
        learning_rate: Peak rate of AdamW; 0 makes a sham source, a legitimate control.
        schedule: Shape of the rate after warm-up.
        warmup: Share of the steps, in [0, 1), over which the rate rises linearly.
        weight_decay: AdamW's decoupled decay.
        clip: Largest norm of a step's gradient; 0 leaves gradients as they are.
        epochs: Passes over the training examples.
        batch_size: Examples a step; the loss is the mean over all their loss tokens, however the
            batch is cut into smaller pieces.
        examples: Training examples of a source (a mixture shares them evenly); fewer when the
            source has fewer.
        max_tokens: Longest training example; a longer one loses the beginning of its context.
        loss: Which tokens carry it. `completion`: the answer and what ends it; `all`: every
            token; `label_only`: the answer alone; `all_but_label`: every other one.
        demonstrations: Solved examples before every training input, the same ones for all inputs
            of a task: tuning for in-context learning, loss on the final answer only.
        sampler: `first`: in the order of the task's few-shot split; `drawn`: by seed; `task`: as
            the task's file says.
        draw: Another draw of demonstrations for every number.
        prompt: Prompt variant of the tasks.
        chat_template: `none`: bare text; `model`: the model's own template.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = "lora"
    method: Literal["lora", "full"] = "lora"
    rank: int = Field(default=16, gt=0)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    learning_rate: float = Field(default=5e-4, ge=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, ge=0)
    epochs: int = Field(default=1, gt=0)
    batch_size: int = Field(default=16, gt=0)
    examples: int = Field(default=400, gt=0)
    max_tokens: int = Field(default=512, ge=8)
    loss: Literal["completion", "all", "label_only", "all_but_label"] = "completion"
    demonstrations: int = Field(default=0, ge=0, le=64)
    sampler: Sampler = "task"
    draw: int = Field(default=0, ge=0)
    prompt: str = "default"
    chat_template: Literal["none", "model"] = "none"

    @model_validator(mode="after")
    def _loss_on_the_answer(self) -> Self:
        if self.demonstrations and self.loss.startswith("all"):
            raise ValueError(
                "demonstrations carry no loss: with them, loss must be completion or label_only"
            )
        return self
