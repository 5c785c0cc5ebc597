"""The trainer: `python -m ftorch.trainer train|evaluate|prepare`, run as a process here and on rented machines.

It imports nothing else of ftorch and travels as a zip. Everything it does is told in one output folder, which readers
poll from outside, over ssh or on a shared volume:

    lock               held with flock for the life of the process; FTORCH_LOCK_FD hands over a lock already held
    events.jsonl       append-only; one object per line with `t` and `event`:
                         started {pid, attempt, boot_id}
                         phase {phase}                      import, load, tokenize, train (or score), save
                         resume {checkpoint}
                         train_begin {from_step, total_steps, train_rows, train_tokens}
                         checkpoint {step, path}
                         interrupted {reason, step}         reason: signal or deadline
                         failed {type, message, hint, exit_code}
                         succeeded {step}
                         lost {attempt, last_seen, step}    written by the next attempt, for one that was killed
    heartbeat.json     {t, pid, phase, step, total_steps, loss, seconds_per_step, ...} every 2 s, also while importing
    metrics.jsonl      append-only; after a kill steps appear twice, and the last row of a step counts
    checkpoints/       checkpoint-N/.complete is written when all of N is on disk; a folder without it does not exist
    adapter/           whole or absent; adapter_config.json names the base model's canonical id
    partial.jsonl      `evaluate` only: rows done so far, so that a killed evaluation goes on
    scores.jsonl       `evaluate` only: one row per row, in order
    result.json        last and atomic: whoever sees it sees a finished run

A reader must tolerate a half last line. Exit codes: 0 done, 64 bad spec, 65 bad data, 66 base model not to be had,
70 crash, 73 the folder is in use, 75 interrupted and resumable.
"""
