"""How the service tells what it has: records of files, jobs, models and accounts as answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ftorch.core.clock import rfc3339
from ftorch.emulators.together import answers, models, records
from ftorch.emulators.together.accounts import Account
from ftorch.emulators.together.events import eval_steps, events, wandb_url
from ftorch.emulators.together.files import FileStore, StoredFile
from ftorch.emulators.together.jobs import SAVE_S, Job
from ftorch.emulators.together.models import TunableModel
from ftorch.emulators.together.orders import scheduler_of
from ftorch.emulators.together.rules import Checked, InvalidFileError

_DONE = ("COMPLETED", "INVALID_FORMAT")


def file_view(store: FileStore, file: StoredFile) -> answers.File:
    status = store.status(file)
    return answers.File(
        id=file.id,
        bytes=len(file.content or b""),
        created_at=int(file.created_at.timestamp()),
        filename=file.declared.file_name,
        file_type=file.declared.file_type,
        purpose=file.declared.purpose,
        processed=status in (None, "COMPLETED"),
        processing_status=status,
        validation_report=_validation_report(file) if status in _DONE else None,
    )


def _validation_report(file: StoredFile) -> answers.ValidationReport:
    match file.verdict:
        case Checked() as checked:
            return answers.ValidationReport(
                valid=True, dataset_format=checked.dataset_format, nlines=len(checked.rows), file_id=file.id
            )
        case InvalidFileError() as error:
            return answers.ValidationReport(valid=False, error=str(error), error_type="INVALID_FORMAT", file_id=file.id)
        case None:
            raise AssertionError(f"{file.id} has a status and no verdict")


def limits_view(model: TunableModel) -> answers.Limits:
    full = answers.FullLimits(
        min_batch_size=model.min_batch, max_batch_size=model.max_batch, max_batch_size_dpo=model.max_batch_dpo
    )
    return answers.Limits(
        model_name=model.id,
        lora_training=answers.LoraLimits(
            default_rank=min(models.DEFAULT_RANK, model.max_rank),
            max_rank=model.max_rank,
            target_modules=model.target_modules,
            **full.model_dump(),
        ),
        full_training=full if model.has_full_training else None,
        default_gradient_accumulation_steps=1,
        max_num_epochs=models.MAX_EPOCHS,
        max_num_evals=models.MAX_EVALS,
        max_num_checkpoints=models.MAX_CHECKPOINTS,
        min_learning_rate=models.MIN_LEARNING_RATE,
        max_learning_rate=models.MAX_LEARNING_RATE,
        min_max_seq_length=models.MIN_SEQ_LENGTH,
        max_seq_length_sft=model.context_sft,
        max_seq_length_dpo=model.context_dpo,
        merge_output_lora=model.billions < 100,
        supports_full_training=model.has_full_training,
        supports_reasoning=model.has_reasoning,
        supports_tools=True,
        supports_vision=False,
    )


def truncated_view(job: Job, now: datetime) -> records.TruncatedJob:
    """The record in lists. Its events are empty: only the full record has them."""
    return records.TruncatedJob(
        **_common(job, now),
        events=[],
        owner_address=f"{job.account.user}@example.com",
        adapter_output_name=job.adapter_name,
        suffix=job.order.suffix,
        packing=job.order.packing,
        max_seq_length=job.max_seq_length,
        random_seed=job.seed,
        wandb_name=job.order.wandb_name,
        wandb_entity=job.order.wandb_entity,
    )


def job_view(job: Job, now: datetime) -> records.Job:
    is_completed = job.status(now) == "completed"
    steps = job.step(now)
    outputs: dict[str, Any] = {}
    if is_completed:
        outputs["model_output_path"] = f"s3://together-finetune/{job.id}/model"
        if job.lora:
            outputs["adapter_object_id"] = f"ml_{job.id[-12:]}"
            outputs["adapter_object_name"] = job.adapter_name
            outputs["adapter_object_revision_id"] = f"rv_{job.id[-12:]}"
    return records.Job(
        **_common(job, now),
        **outputs,
        events=events(job, now),
        job_id=job.id,
        param_count=job.model.parameters,
        queue_depth=1 if job.status(now) in ("pending", "queued") else 0,
        epochs_completed=job.order.n_epochs * steps // job.size.steps,
        eval_steps=next(iter(eval_steps(job)), 0),
        trainingfile_numlines=job.size.rows,
        trainingfile_size=job.size.bytes,
        multimodal_params=job.order.multimodal_params,
        wandb_url=wandb_url(job) if job.order.tracks else None,
    )


def _common(job: Job, now: datetime) -> dict[str, Any]:
    order = job.order
    same = ("training_file", "n_epochs", "learning_rate", "warmup_ratio", "max_grad_norm", "weight_decay")
    more = ("training_method", "from_checkpoint", "from_hf_model", "hf_model_revision", "wandb_project_name")
    return {
        **{name: getattr(order, name) for name in (*same, *more)},
        "id": job.id,
        "status": job.status(now),
        "created_at": rfc3339(job.created_at),
        "updated_at": rfc3339(_updated_at(job, now)),
        "started_at": rfc3339(job.starts_at) if now >= job.starts_at else None,
        "user_id": job.account.user,
        "validation_file": order.validation_file or None,
        "model": job.model.id,
        "model_output_name": job.output_name,
        "n_evals": order.n_evals or 0,
        "n_checkpoints": order.n_checkpoints or 1,
        "batch_size": job.batch_size,
        "lr_scheduler": scheduler_of(order),
        "training_type": job.lora or order.training_type,
        "token_count": job.tokens(now),
        "total_price": job.price(now),
        "progress": _progress(job, now),
    }


def _updated_at(job: Job, now: datetime) -> datetime:
    course = [moment for moment in (job.starts_at, job.tokenised_at, job.trained_at) if moment < job.ends_at]
    moments = [*course, job.ends_at, *(refund.at for refund in job.refunds)]
    return max((moment for moment in moments if moment <= now), default=job.created_at)


def _progress(job: Job, now: datetime) -> records.Progress:
    left_s = int((job.trained_at - now).total_seconds()) + SAVE_S
    is_working = job.starts_at <= now < job.ends_at
    return records.Progress(estimate_available=is_working, seconds_remaining=max(left_s, 0) if is_working else 0)


def whoami_view(account: Account) -> answers.Whoami:
    return answers.Whoami(
        api_key=answers.ApiKey(id=account.key_id),
        organization=answers.Named(id=account.organisation, name=account.organisation_name),
        project=answers.Project(id=account.project, name=account.project_name, slug=account.project_name),
    )
