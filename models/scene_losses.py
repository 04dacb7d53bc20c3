"""What the scene networks are trained to.

Losses, and which anchor or place answers for which garment.
"""

from __future__ import annotations

import torch
from scene_networks import FCN, FCOS, LEVELS, DeepLab, RetinaNet, centres
from torch import Tensor, nn
from torch.nn import functional
from yolo import BINS, YOLO

Truth = tuple[Tensor, Tensor, Tensor]
"""Masks [N,H,W], boxes [N,M,4] and classes [N,M] of a batch."""

POSITIVE, NEGATIVE = 0.5, 0.4
"""IoU from which an anchor answers for a garment, and up to which it answers for none."""
CENTRE = 1.5
"""Strides from a garment's centre within which a place answers for it."""
SMALL = 20.0
"""Pixels from a place to the farthest side up to which stride 8 answers."""
CANDIDATES = 10
"""Places that answer for a garment in a YOLO, at most."""
BOX, CLASS, DISTANCE = 7.5, 0.5, 1.5
"""Weights of a YOLO's three losses."""


def segmentation_loss(net: FCN | DeepLab, x: Tensor, truth: Truth) -> Tensor:
    """Cross entropy of all pixels that count."""
    return functional.cross_entropy(net(x), truth[0], ignore_index=255)


def retinanet_loss(net: RetinaNet, x: Tensor, truth: Truth) -> Tensor:
    """Focal loss of the classes, GIoU loss of the boxes (RetinaNet's, with IoU matching)."""
    _, boxes, classes = truth
    logits, offsets = net.raw(x)
    iou = (
        giou(net.anchors()[None, :, None], boxes[:, None], union=True) * (classes >= 0)[:, None]
    )  # [N,A,M]
    best, owner = iou.max(2)
    forced = (iou == iou.amax(1, keepdim=True)) & (
        iou > 0.1
    )  # each garment's best anchor, however bad it fits
    owner = torch.where(forced.any(2), forced.int().argmax(2), owner)
    positive = (best >= POSITIVE) | forced.any(2)
    counts = positive | (best < NEGATIVE)
    wanted = torch.gather(boxes, 1, owner[..., None].expand(-1, -1, 4))
    boxed = 1 - giou(net.decode(offsets), wanted)[positive].sum() / positive.sum()
    return focal(logits, torch.gather(classes, 1, owner), positive, counts) + 2 * boxed


def fcos_loss(net: FCOS, x: Tensor, truth: Truth) -> Tensor:
    """Focal loss of the classes, GIoU loss of the boxes, cross entropy of the centre-ness (FCOS,
    centre sampling).
    """
    _, boxes, classes = truth
    logits, offsets, central = net.raw(x)
    place = centres()
    low = place[:, None, :2] - boxes[:, None, :, :2]  # [N,A,M,2]
    high = boxes[:, None, :, 2:] - place[:, None, :2]
    sides = torch.cat([low, high], 3)
    centre = (boxes[:, None, :, :2] + boxes[:, None, :, 2:]) / 2
    near = (place[:, None, :2] - centre).abs().amax(3) < CENTRE * place[:, None, 2]
    farthest = sides.amax(3)
    fine = place[:, None, 2] == LEVELS[0]
    fits = near & (sides.amin(3) > 0) & torch.where(fine, farthest <= SMALL, farthest > SMALL)
    fits = fits & (classes >= 0)[:, None]
    area = (boxes[..., 2:] - boxes[..., :2]).prod(2)[:, None]
    owner = torch.where(fits, area, torch.inf).argmin(2)  # of several garments the smallest
    positive = fits.any(2)
    side = torch.gather(sides, 2, owner[..., None, None].expand(-1, -1, 1, 4)).squeeze(2)[positive]
    across, down = side[:, 0::2], side[:, 1::2]
    ratio = across.amin(1) / across.amax(1) * down.amin(1) / down.amax(1)
    centreness = ratio.clamp(min=0).sqrt()
    wanted = torch.gather(boxes, 1, owner[..., None].expand(-1, -1, 4))[positive]
    boxed = (
        centreness * (1 - giou(net.decode(offsets)[positive], wanted))
    ).sum() / centreness.sum()
    centred = functional.binary_cross_entropy_with_logits(central[..., 0][positive], centreness)
    anywhere = torch.ones_like(positive)
    return focal(logits, torch.gather(classes, 1, owner), positive, anywhere) + 2 * boxed + centred


def yolo_loss(net: YOLO, x: Tensor, truth: Truth) -> Tensor:
    """YOLOv8's: GIoU of the boxes, cross entropy of the classes and of the distances.

    Task-aligned (TOOD): the places answer for a garment that score and fit it best by now, and a
    place's class is worth as much as its box fits.
    """
    _, boxes, classes = truth
    distances, logits = net.raw(x)
    found, logits = net.decode(distances), logits.transpose(1, 2)
    owner, worth = _aligned(net, found.detach(), logits.detach().sigmoid(), boxes, classes)
    positive, total = worth > 0, worth.sum().clamp(min=1)
    target = functional.one_hot(torch.gather(classes, 1, owner).clamp(min=0), logits.shape[2])
    scored = functional.binary_cross_entropy_with_logits(
        logits, target * worth[..., None], reduction="sum"
    )
    wanted = torch.gather(boxes, 1, owner[..., None].expand(-1, -1, 4))
    boxed = (worth * (1 - giou(found, wanted)))[positive].sum()
    middle, stride = net.middle[0].T, net.stride[:, None]
    before, behind = (wanted / stride).split((2, 2), 2)
    sides = torch.cat([middle - before, behind - middle], 2)[positive].clamp(0, BINS - 1.01)
    shares = distances.unflatten(1, (4, BINS)).permute(0, 3, 1, 2)[positive].log_softmax(2)
    low = sides.long()[..., None]
    part = sides - low[..., 0]
    told = (1 - part) * shares.gather(2, low)[..., 0] + part * shares.gather(2, low + 1)[..., 0]
    far = -(worth[positive] * told.mean(1)).sum()
    return (BOX * boxed + CLASS * scored + DISTANCE * far) / total


def _aligned(
    net: YOLO, found: Tensor, chance: Tensor, boxes: Tensor, classes: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the garment each place answers for [N,A], and its worth, 0 where for none."""
    place = (net.middle[0].T * net.stride[:, None])[:, None]  # [A,1,2]
    inside = torch.cat([place - boxes[:, None, :, :2], boxes[:, None, :, 2:] - place], 3).amin(3)
    there = (inside > 0) & (classes >= 0)[:, None]  # [N,A,M]
    iou = giou(found[:, :, None], boxes[:, None], union=True) * there
    column = classes.clamp(min=0)[:, None].expand(-1, chance.shape[1], -1)
    align = chance.gather(2, column).sqrt() * iou**6
    least = align.topk(CANDIDATES, 1).values[:, -1:]
    chosen = there & (align >= least) & (align > 0)
    # of several garments a place answers for the one it fits best
    owner = torch.where(chosen, iou, -1.0).argmax(2)
    chosen = chosen & functional.one_hot(owner, classes.shape[1]).bool()
    align, iou = align * chosen, iou * chosen
    best = iou.amax(1, keepdim=True) / align.amax(1, keepdim=True).clamp(min=1e-12)
    return owner, (align * best).amax(2)


def focal(logits: Tensor, classes: Tensor, positive: Tensor, counts: Tensor) -> Tensor:
    """Focal loss (alpha 0.25, gamma 2) of logits [N,A,C] where `counts` [N,A], by the number of
    positives.
    """
    target = functional.one_hot(classes.clamp(min=0), logits.shape[2]) * positive[..., None]
    chance = logits.sigmoid()
    right = torch.where(target > 0, chance, 1 - chance)
    weight = torch.where(target > 0, 0.25, 0.75) * (1 - right) ** 2
    entropy = functional.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
    return (weight * entropy * counts[..., None]).sum() / positive.sum().clamp(min=1)


def giou(found: Tensor, wanted: Tensor, union: bool = False) -> Tensor:
    """Generalised intersection over union of boxes [...,4] (plain with `union`)."""
    overlap = (
        torch.minimum(found[..., 2:], wanted[..., 2:])
        - torch.maximum(found[..., :2], wanted[..., :2])
    ).clamp(min=0)
    hull = torch.maximum(found[..., 2:], wanted[..., 2:]) - torch.minimum(
        found[..., :2], wanted[..., :2]
    )
    both = overlap.prod(-1)
    joined = (
        (found[..., 2:] - found[..., :2]).prod(-1)
        + (wanted[..., 2:] - wanted[..., :2]).prod(-1)
        - both
        + 1e-6
    )
    area = hull.prod(-1) + 1e-6
    return both / joined if union else both / joined - (area - joined) / area


LOSSES = {
    FCN: segmentation_loss,
    DeepLab: segmentation_loss,
    RetinaNet: retinanet_loss,
    FCOS: fcos_loss,
    YOLO: yolo_loss,
}


def loss_of(net: nn.Module, x: Tensor, truth: Truth) -> Tensor:
    """The loss of a network on a batch."""
    return LOSSES[type(net)](net, x, truth)
