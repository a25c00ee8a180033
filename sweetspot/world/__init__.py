"""The embedded world: small verifiable problems and the tiny language models trained on them.

Files, in reading order: `problems` (what is asked, and the right answer), `corpus` (how the noisy
web text answers it), `tokenizer`, `pretrain` (the policy), `replies` (sampling and its rates),
`preferences` (noisy labels and the reward model), `reward_check` (what it learnt), `build` (one
command that makes all of it).
"""
