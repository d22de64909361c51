"""What Python does first where GPUs compute nothing: cuDNN, for which nothing stands in, is left out; and what
no model here needs of open_clip, which takes half of its import."""

import sys

import torch

sys.modules.update(dict.fromkeys(("transformers", "timm")))

torch.backends.cudnn.enabled = False
torch.backends.cuda.enable_cudnn_sdp(False)
