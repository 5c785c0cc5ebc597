"""What other tools call our keys. Only for the sentence that helps somebody who comes from one of them."""

from __future__ import annotations

from collections.abc import Mapping

FOREIGN: Mapping[str, tuple[str, str]] = {
    "n_epochs": ("Together", "method.epochs"),
    "num_epochs": ("axolotl", "method.epochs"),
    "num_train_epochs": ("TRL", "method.epochs"),
    "lr": ("other tools", "method.learning_rate"),
    "max_seq_length": ("Together", "method.max_length"),
    "max_seq_len": ("other tools", "method.max_length"),
    "sequence_len": ("axolotl", "method.max_length"),
    "train_on_inputs": ("Together", "method.train_on"),
    "completion_only_loss": ("TRL", "method.train_on"),
    "lora_r": ("Together", "method.lora.rank"),
    "r": ("PEFT", "method.lora.rank"),
    "lora_alpha": ("PEFT", "method.lora.alpha"),
    "lora_dropout": ("PEFT", "method.lora.dropout"),
    "lora_trainable_modules": ("Together", "method.lora.targets"),
    "target_modules": ("PEFT", "method.lora.targets"),
    "lora_target_modules": ("axolotl", "method.lora.targets"),
    "per_device_train_batch_size": ("TRL", "method.micro_batch_size"),
    "micro_batch": ("other tools", "method.micro_batch_size"),
    "lr_scheduler_type": ("TRL", "method.scheduler"),
    "lr_scheduler": ("axolotl", "method.scheduler"),
    "warmup_steps": ("TRL", "method.warmup_ratio"),
    "random_seed": ("Together", "method.seed"),
    "dpo_beta": ("Together", "method.beta"),
    "rl_beta": ("axolotl", "method.beta"),
    "training_method": ("Together", "method.type"),
    "model": ("Together", "base_model"),
    "model_name": ("other tools", "base_model"),
    "model_name_or_path": ("TRL", "base_model"),
    "training_file": ("Together", "dataset.path"),
    "train_file": ("other tools", "dataset.path"),
    "datasets": ("axolotl", "dataset.path"),
    "validation_file": ("Together", "dataset.validation.path"),
    "val_set_size": ("axolotl", "dataset.held_out.fraction"),
    "suffix": ("Together", "name"),
    "max_usd": ("other tools", "budget.limit"),
    "max_cost": ("other tools", "budget.limit"),
    "gpus": ("other tools", "resources.gpu"),
    "accelerators": ("SkyPilot", "resources.gpu"),
    "tags": ("other tools", "labels"),
    "wandb_project": ("other tools", "tracking.wandb.project"),
}
"""Their key -> (who says so, our dotted key)."""
