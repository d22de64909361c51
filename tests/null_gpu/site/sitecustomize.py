"""What Python does first where GPUs compute nothing: cuDNN, for which nothing stands in, is left out."""

import torch

torch.backends.cudnn.enabled = False
torch.backends.cuda.enable_cudnn_sdp(False)
