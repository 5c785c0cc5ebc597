"""What other tools call our keys. Only for the sentence that helps somebody who comes from one of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ftorch.core.suggest import did_you_mean

FOREIGN: Mapping[str, tuple[str, str]] = {
    "adapter": ("axolotl", "method.lora"),
    "n_epochs": ("Together", "method.epochs"),
    "num_epochs": ("axolotl", "method.epochs"),
    "num_train_epochs": ("TRL", "method.epochs"),
    "lr": ("other tools", "method.learning_rate"),
    "max_seq_length": ("Together", "method.max_length"),
    "max_seq_len": ("other tools", "method.max_length"),
    "sequence_len": ("axolotl", "method.max_length"),
    "train_on_inputs": ("Together", "method.train_on"),
    "completion_only_loss": ("TRL", "method.train_on"),
    "roles_to_train": ("axolotl", "method.train_on"),
    "lora_r": ("Together", "method.lora.rank"),
    "r": ("PEFT", "method.lora.rank"),
    "lora_alpha": ("PEFT", "method.lora.alpha"),
    "lora_dropout": ("PEFT", "method.lora.dropout"),
    "lora_trainable_modules": ("Together", "method.lora.targets"),
    "target_modules": ("PEFT", "method.lora.targets"),
    "lora_target_modules": ("axolotl", "method.lora.targets"),
    "lora_target_linear": ("axolotl", "method.lora.targets"),
    "per_device_train_batch_size": ("TRL", "method.micro_batch_size"),
    "gradient_accumulation_steps": ("TRL", "method.batch_size"),
    "micro_batch": ("other tools", "method.micro_batch_size"),
    "lr_scheduler_type": ("TRL", "method.scheduler"),
    "lr_scheduler": ("axolotl", "method.scheduler"),
    "warmup_steps": ("TRL", "method.warmup_ratio"),
    "random_seed": ("Together", "method.seed"),
    "data_seed": ("TRL", "method.seed"),
    "save_steps": ("TRL", "method.save_every_steps"),
    "load_in_4bit": ("axolotl", "method.quantize"),
    "dpo_beta": ("Together", "method.beta"),
    "rl_beta": ("axolotl", "method.beta"),
    "rl": ("axolotl", "method.type"),
    "training_method": ("Together", "method.type"),
    "from_checkpoint": ("Together", "from_adapter"),
    "model": ("Together", "base_model"),
    "model_name": ("other tools", "base_model"),
    "model_name_or_path": ("TRL", "base_model"),
    "hf_model_revision": ("Together", "base_model.revision"),
    "training_file": ("Together", "dataset.path"),
    "train_file": ("other tools", "dataset.path"),
    "datasets": ("axolotl", "dataset.path"),
    "validation_file": ("Together", "dataset.validation.path"),
    "val_set_size": ("axolotl", "dataset.held_out.fraction"),
    "test_datasets": ("axolotl", "dataset.held_out.path"),
    "suffix": ("Together", "name"),
    "max_usd": ("other tools", "budget.limit"),
    "max_cost": ("other tools", "budget.limit"),
    "timeout": ("Modal", "resources.max_duration"),
    "timeout_s": ("Anyscale", "resources.max_duration"),
    "gpus": ("other tools", "resources.gpu"),
    "accelerators": ("SkyPilot", "resources.gpu"),
    "max_retries": ("Anyscale", "retry.max_runs"),
    "envs": ("SkyPilot", "secrets"),
    "env": ("other tools", "secrets"),
    "tags": ("other tools", "labels"),
    "wandb_project": ("axolotl", "tracking.wandb.project"),
    "report_to": ("TRL", "tracking"),
    # Flat manifests put these at the top; here they stand in a block.
    "epochs": ("other tools", "method.epochs"),
    "max_steps": ("other tools", "method.max_steps"),
    "learning_rate": ("other tools", "method.learning_rate"),
    "batch_size": ("other tools", "method.batch_size"),
    "micro_batch_size": ("axolotl", "method.micro_batch_size"),
    "max_length": ("TRL", "method.max_length"),
    "seed": ("other tools", "method.seed"),
    "beta": ("TRL", "method.beta"),
    "train_on": ("other tools", "method.train_on"),
    "lora": ("other tools", "method.lora"),
    "rank": ("other tools", "method.lora.rank"),
    "alpha": ("other tools", "method.lora.alpha"),
    "revision": ("other tools", "base_model.revision"),
    "held_out": ("other tools", "dataset.held_out"),
    "gpu": ("Modal", "resources.gpu"),
    "workers": ("other tools", "resources.workers"),
    "limit": ("other tools", "budget.limit"),
    "gate": ("other tools", "eval.gate"),
    "cron": ("other tools", "schedule.cron"),
    "wandb": ("other tools", "tracking.wandb"),
}
"""Their key -> (who says so, our dotted key)."""


def unknown_key(key: str, allowed: Collection[str]) -> str:
    """The sentence for a key that is not among `allowed`."""
    if key in FOREIGN:
        tool, ours = FOREIGN[key]
        return f"not a known key ({key!r} is the name in {tool}; in ftorch it is {ours!r})"
    return f"not a known key{did_you_mean(key, allowed)}"
