"""karpathy/autoresearch and its kin: results.tsv, run.log and the branch of an agent that experiments, as runs."""
