#!/usr/bin/env python3
"""The published training step and classifier, and the latency of one image, in PyTorch, with the towers of
torch_reference.py.

    python pytorch_clipn.py TASK --reference torch_reference.py [--threads 2] [--reps 7]

TASK is step (32 pairs, ViT-B-32: image and "yes" tower without gradient, "no" tower with its prompts forward and backward,
AdamW over the "no" tower with its dense token table; texts padded to 77, as in the published code), classifier (64 class
names, one template at a time, texts padded to 77, "yes" and "no"), or image-b32-single (the image tower of ViT-B-32 on one
image).
Weights are random; only the time is meaningful. The output format is that of torch_reference.py.
"""
import argparse
import contextlib
import io
import runpy
import sys

NAMES = 64
BATCH = 32
PROMPTS = 16


def load_reference(reference, threads):
    """Loads the definitions of torch_reference.py. Loading runs a task, so the smallest one is selected."""
    arguments, sys.argv = sys.argv, [reference, "text16", "--reps", "1", "--threads", str(threads)]
    with contextlib.redirect_stdout(io.StringIO()):
        found = runpy.run_path(reference, run_name="__main__")
    sys.argv = arguments
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["step", "classifier", "image-b32-single"])
    parser.add_argument("--reference", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reps", type=int, default=7)
    args = parser.parse_args()

    found = load_reference(args.reference, args.threads)
    import torch
    import torch.nn as nn
    import torch.nn.functional as F

    class NoText(found["Text"]):
        """A "no" tower: a learnable prompt is added at every position."""

        def __init__(self):
            super().__init__()
            self.prompt_no = nn.Parameter(torch.zeros(PROMPTS, 77, 512))

        def forward(self, ids, prompt):
            x = self.ln(self.blocks(self.tok(ids) + self.pos + prompt))
            return x[torch.arange(x.shape[0]), ids.argmax(-1)] @ self.out

    def padded(count):
        """Captions of 5 to 25 tokens, padded with zeros to 77."""
        ids = torch.zeros(count, 77, dtype=torch.long)
        for row, length in enumerate(torch.randint(5, 26, (count,)).tolist()):
            ids[row, :length] = torch.randint(0, 49406, (length,))
            ids[row, length - 1] = 49407
        return ids

    def classifier():
        yes, no = found["Text"]().eval(), NoText().eval()
        ids = padded(NAMES)
        with torch.inference_mode():
            return found["timed"](lambda: (yes(ids), no(ids, no.prompt_no.mean(0)))), NAMES, "pairs"

    def single():
        tower, pixels = found["Vision"](32).eval(), torch.randn(1, 3, 224, 224)
        with torch.inference_mode():
            return found["timed"](lambda: tower(pixels)), 1, "images"

    def step():
        image, yes, no = found["Vision"](32).eval(), found["Text"]().eval(), NoText()
        pixels = torch.randn(BATCH, 3, 224, 224)
        decays = [p for p in no.parameters() if p.ndim >= 2]
        others = [p for p in no.parameters() if p.ndim < 2]
        groups = [{"params": decays, "weight_decay": 0.2}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=3e-4, betas=(0.9, 0.98), eps=1e-6)
        other = ~torch.eye(BATCH, dtype=torch.bool)

        def one():
            ids = padded(BATCH)
            with torch.no_grad():
                f = F.normalize(image(pixels), dim=-1)
                g = F.normalize(yes(ids), dim=-1)
            prompts = torch.cat([no.prompt_no, no.prompt_no.mean(0, keepdim=True)])
            n = F.normalize(no(ids, prompts[torch.randint(0, PROMPTS + 1, (BATCH,))]), dim=-1)
            yes_logits, no_logits = 100 * f @ g.t(), 100 * f @ n.t()
            p_no = torch.stack([yes_logits, no_logits]).log_softmax(0)
            loss_yes = -p_no[0].diagonal().mean()
            loss_no = -p_no[1][other].mean()
            loss_tso = (2 - (2 - 2 * (g * n).sum(-1) + 1e-4).sqrt()).mean()
            optimizer.zero_grad(set_to_none=True)
            (0.5 * (loss_yes + loss_no + loss_tso)).backward()
            optimizer.step()

        return found["timed"](one), BATCH, "samples"

    # The reference's functions read its parsed arguments.
    found["a"].task, found["a"].reps = args.task, args.reps
    times, count, unit = {"step": step, "classifier": classifier, "image-b32-single": single}[args.task]()
    found["report"](times, count, unit)


if __name__ == "__main__":
    main()
