#!/bin/sh
# An image processor that is saved next to a model is not the one that is loaded from there.
#
# One would guess: `CLIPImageProcessor.save_pretrained(DIR)` and then `CLIPImageProcessor.from_pretrained(DIR)`
# gives the values that were saved.
#
# What happens, with transformers 5.24.0: `CLIPProcessor.save_pretrained` writes the values into one file, the
# image processor alone into another. Loading takes the first if both are there, whichever is newer, without a
# warning: a changed mean, size or crop is written, and the old one is loaded. transformers 4.57.1 loads the
# other of the two from the same directory.
#
# Who is hurt: all who fine-tune CLIP with another normalization or resolution and save the changed image processor
# into the directory of the checkpoint. Training, evaluation and other machines then see different pixels of the same
# images, and accuracy and OOD scores move for no visible reason.
#
# Versions: transformers 5.24.0 and 4.57.1, numpy 2.3.5, pillow 12.0.0, Python 3.10 or later.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 5.24.0 4.57.1; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install --quiet --disable-pip-version-check \
        "transformers==$version" numpy==2.3.5 pillow==12.0.0
done
cat > "$work/save.py" <<'PYTHON'
import sys

from transformers import CLIPImageProcessor, CLIPProcessor, CLIPTokenizer

directory = sys.argv[1]
tokenizer = CLIPTokenizer(vocab={"a</w>": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}, merges=[])
first = CLIPImageProcessor(image_mean=[0.5] * 3, image_std=[0.5] * 3)
CLIPProcessor(image_processor=first, tokenizer=tokenizer).save_pretrained(directory)
changed = CLIPImageProcessor.from_pretrained(directory)
changed.image_mean = [0.25] * 3
changed.save_pretrained(directory)
print("saved ", list(changed.image_mean))
PYTHON
cat > "$work/load.py" <<'PYTHON'
import sys

import transformers

mean = transformers.CLIPImageProcessor.from_pretrained(sys.argv[1]).image_mean
print("loaded", list(mean), "by transformers", transformers.__version__)
sys.exit(list(mean) != [float(sys.argv[2])] * 3)
PYTHON
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
"$work/5.24.0/bin/python" "$work/save.py" "$work/model" 2> /dev/null
"$work/5.24.0/bin/python" "$work/load.py" "$work/model" 0.5 2> /dev/null || exit 1
"$work/4.57.1/bin/python" "$work/load.py" "$work/model" 0.25 2> /dev/null || exit 1
echo "transformers 5.24.0 loads other values than were saved last; 4.57.1 loads those"
