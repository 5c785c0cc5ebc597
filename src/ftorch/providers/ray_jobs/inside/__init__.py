"""What a job on a Ray cluster runs: `python -m ftorch.providers.ray_jobs.inside`. Python alone; Ray where it is needed.

    FTORCH_RUN_KEY       the run
    FTORCH_WORKERS       1: the trainer in a process of its own, and Ray is not imported; more: the same under Ray Train
    FTORCH_USE_GPU       1: each worker has a GPU
    FTORCH_CHANGES       JSON: what only this run knows of the trainer's spec
    FTORCH_RESUME_FROM   an earlier run whose checkpoints are carried on, where there are any
    FTORCH_OUTPUT_URI    where the run's folder is copied to, while it is written; a folder named by the key in it

A run's folder is that of the trainer (`ftorch/trainer/__init__.py`) with `status.json` beside it, which tells in one
reading what the runner and the trainer know. Without FTORCH_OUTPUT_URI it is read where it lies: among the logs of
Ray's session, which the cluster shows. With it, several workers may be on as many machines: the one that writes copies
its folder, the runner its status, and what lies there counts, whatever a disk has. Marker lines in the job's log say
where:

    FTORCH_EVENT {"v": 1, "kind": "started" | "ended", "key": ..., "t": ..., "folder": ..., "uri": ...}
"""
