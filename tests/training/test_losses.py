"""Losses of tuples against pairs written out one by one, and what must hold of any of them."""

import numpy as np
import pytest
import torch

from resight.training.losses import contrastive_loss, triplet_loss, tuple_losses


def unit(rng, *shape):
    x = torch.from_numpy(rng.random(shape))
    return (x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)).requires_grad_()


def slow_contrastive(anchor, others, labels, margin):
    """Eq. 3 of the paper, a pair at a time."""
    total = 0.0
    for other, same in zip(others, labels, strict=True):
        d = float(np.sqrt(((anchor - other) ** 2).sum()))
        total += 0.5 * d**2 if same else 0.5 * max(0.0, margin - d) ** 2
    return total


def test_the_contrastive_loss_is_the_sum_over_six_separate_pairs(rng):
    a, p, n = unit(rng, 4, 8), unit(rng, 4, 8), unit(rng, 4, 5, 8)
    losses = contrastive_loss(a, p, n, margin=0.75)
    for i in range(4):
        others = [p[i].detach().numpy(), *n[i].detach().numpy()]
        expected = slow_contrastive(a[i].detach().numpy(), others, [True, *[False] * 5], 0.75)
        assert losses[i].item() == pytest.approx(expected, rel=1e-12)


def test_a_tuple_has_the_gradients_of_its_separate_pairs(rng):
    a, p, n = unit(rng, 1, 8), unit(rng, 1, 8), unit(rng, 1, 5, 8)
    contrastive_loss(a, p, n, margin=0.75).sum().backward()
    d = a.detach() - n.detach()[0]  # (5, 8)
    length = torch.linalg.vector_norm(d, dim=1, keepdim=True)
    pushes = torch.where(length < 0.75, -(0.75 - length) / length * d, 0)
    torch.testing.assert_close(a.grad[0], (a - p).detach()[0] + pushes.sum(0))
    torch.testing.assert_close(n.grad[0], -pushes)


@pytest.mark.parametrize("d", [0.75, 0.8, 1.4])
def test_a_negative_beyond_the_margin_has_no_loss_and_no_gradient(d):
    a = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    far = torch.tensor([[[d, 0.0]]], dtype=torch.float64)
    loss = contrastive_loss(a, a.detach(), far, margin=0.75)
    loss.sum().backward()
    assert loss.detach().tolist() == [0.0]
    assert a.grad.abs().max() == 0


def test_an_identical_pair_has_no_loss_and_an_identical_negative_a_finite_gradient(rng):
    a = unit(rng, 1, 4)
    assert contrastive_loss(a, a, a[:, None] * -1, margin=0.7).detach().tolist() == [0.0]
    loss = contrastive_loss(a, a.detach(), a.detach()[:, None], margin=0.7)
    loss.sum().backward()
    assert loss.detach().tolist() == pytest.approx([0.5 * 0.7**2])
    assert a.grad.abs().max() == 0


def test_the_triplet_loss_is_written_out(rng):
    a, p, n = (unit(rng, *shape).detach() for shape in ((3, 6), (3, 6), (3, 2, 6)))
    expected = [
        sum(max(0.0, 0.1 + float(((a[i] - p[i]) ** 2).sum() - ((a[i] - n[i, j]) ** 2).sum())) for j in (0, 1))
        for i in range(3)
    ]
    assert triplet_loss(a, p, n, margin=0.1).tolist() == pytest.approx(expected)


def test_the_triplet_loss_is_zero_when_the_margin_is_kept():
    a, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0]]])
    assert triplet_loss(a, a, far, margin=0.5).tolist() == [0.0]


@pytest.mark.parametrize("loss", ["contrastive", "triplet"])
def test_weights_of_one_change_nothing_and_absent_negatives_add_nothing(rng, loss):
    vectors = unit(rng, 5, 8).detach()
    slots = torch.tensor([[0, 1, 2, 3], [1, 0, 4, -1]])
    plain = tuple_losses(vectors, slots, loss=loss, margin=0.7)
    weighted = tuple_losses(vectors, slots, loss=loss, margin=0.7, weights=torch.ones(2))
    assert plain.tolist() == weighted.tolist()
    short = tuple_losses(vectors, slots[1:, :3], loss=loss, margin=0.7)
    assert plain[1].item() == short.item()
    doubled = tuple_losses(vectors, slots, loss=loss, margin=0.7, weights=torch.tensor([2.0, 0.0]))
    assert doubled.tolist() == pytest.approx([2 * plain[0].item(), 0.0])
