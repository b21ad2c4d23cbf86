"""The optimiser: torch's own Adam, and nothing of torch's compiler."""

import subprocess
import sys

import torch

from sharekit.program.adam import adam

TRAINS = """
import sys, torch
from sharekit.program.adam import adam
weight = torch.nn.Parameter(torch.ones(3))
optimiser = adam(torch, [weight], lr=0.1)
optimiser.zero_grad()
weight.square().sum().backward()
optimiser.step()
optimiser.load_state_dict(optimiser.state_dict())
assert weight.max() < 1
print("torch._dynamo" in sys.modules)
"""


def test_an_optimiser_does_not_load_torchs_compiler() -> None:
    # Without it, the first Adam of a process takes 2 s.
    ended = subprocess.run([sys.executable, "-c", TRAINS], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


def test_its_steps_and_its_state_are_those_of_torchs_own() -> None:
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2)]
    optimisers = [
        adam(torch, [weights[0]], lr=0.1, fused=True),
        torch.optim.Adam([weights[1]], 0.1, fused=True),
    ]
    for _ in range(3):
        for weight, optimiser in zip(weights, optimisers, strict=True):
            optimiser.zero_grad()
            (weight**4).sum().backward()
            optimiser.step()
    assert torch.equal(*weights)
    found, expected = (optimiser.state_dict() for optimiser in optimisers)
    assert found["param_groups"] == expected["param_groups"]
    assert torch.equal(found["state"][0]["exp_avg"], expected["state"][0]["exp_avg"])
