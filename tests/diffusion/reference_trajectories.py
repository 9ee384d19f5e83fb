"""Makes ``trajectories.npz`` and ``../interop/older/trajectories.npz``: where diffusers' schedulers end from the noise of the tests.

    pip install diffusers scipy torch && KERAS_BACKEND=torch PYTHONPATH=.:tests python -m diffusion.reference_trajectories

The first is of the optimal denoiser of a mixture, evaluated at the scheduler's own sigma, not at its rounded timestep; the second of the network
of the folder ``older``, which is that of diffusers. Schedulers that add noise are given kgen's, of the same row seeds. Made with diffusers 0.42.1.

Not compared: EDMSampler, since diffusers churns before Euler's steps alone; PredictorCorrectorSampler, since ScoreSdeVeScheduler takes the
corrector's length from the norms of a whole batch; ConsistencySampler, since CMStochasticIterativeScheduler adds noise sqrt(r^2 - r_min^2), not
r; and DPMSolverMultistepSampler of order 3, for the reason in ``test_dpm_solver``. DPMSolverSinglestepSampler not with the network: the times
in the middle of its steps are no whole timesteps, and diffusers' scheduler rounds them.
"""

import pathlib
import sys
import tempfile

import diffusers
import numpy as np
import torch
from diffusion.analytic import OF_A_NETWORK, REFERENCE, RUNS, added_noise, mixture, noise

from kgen.interop import diffusers as interop

# Step k of diffusers is t = (k + 1)/1000; its first is the last before data.
TRAILING = {"num_train_timesteps": 1000, "timestep_spacing": "trailing"}
SCHEDULERS = {
    "ddim": (diffusers.DDIMScheduler, {**TRAILING, "clip_sample": False}),
    "euler": (diffusers.EulerDiscreteScheduler, TRAILING),
    "heun": (diffusers.HeunDiscreteScheduler, TRAILING),
    # Order one in the last step alone, which is the one to no noise.
    "dpm_solver_multistep": (
        diffusers.DPMSolverMultistepScheduler,
        {**TRAILING, "lower_order_final": False, "final_sigmas_type": "zero"},
    ),
    "unipc": (diffusers.UniPCMultistepScheduler, {**TRAILING, "final_sigmas_type": "zero"}),
    # Ends at the noise of its first step.
    "deis": (diffusers.DEISMultistepScheduler, {**TRAILING, "lower_order_final": False, "solver_order": 3}),
    "lms": (diffusers.LMSDiscreteScheduler, TRAILING),
    "pndm": (diffusers.PNDMScheduler, {**TRAILING, "skip_prk_steps": True, "set_alpha_to_one": True}),
    # Every other of its steps is the middle of one of kgen's.
    "dpm_solver_singlestep": (
        diffusers.DPMSolverSinglestepScheduler,
        {"use_exponential_sigmas": True, "lower_order_final": True, "final_sigmas_type": "zero"},
    ),
    "ancestral": (diffusers.DDPMScheduler, {**TRAILING, "clip_sample": False}),
    "euler_ancestral": (diffusers.EulerAncestralDiscreteScheduler, TRAILING),
    "dpm_solver_multistep, stochastic": (
        diffusers.DPMSolverMultistepScheduler,
        {**TRAILING, "lower_order_final": False, "final_sigmas_type": "zero", "algorithm_type": "sde-dpmsolver++"},
    ),
}
IN_SIGMA = ("euler", "heun", "lms", "euler_ancestral")  # whose samples are x/alpha


def ready(name, steps, x, betas):
    """The scheduler, and the rows at its start."""
    cls, options = SCHEDULERS[name]
    scheduler = cls(**betas, **options)
    scheduler.set_timesteps(2 * steps - 1 if name == "dpm_solver_singlestep" else steps)
    return scheduler, x / scheduler.alphas_cumprod[-1].double().sqrt() if name in IN_SIGMA else x


def draws(scheduler, noise):
    """The scheduler's next noise is this."""
    sys.modules[type(scheduler).__module__].randn_tensor = lambda *given, **kwargs: noise


def end(name, steps):
    betas = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    scheduler, x = ready(name, steps, torch.from_numpy(noise(8).astype("float64")), betas)
    for index, t in enumerate(scheduler.timesteps):
        draws(scheduler, torch.from_numpy(added_noise(index)))
        if hasattr(scheduler, "sigmas"):
            ratio = scheduler.sigmas[index].double()
            alpha = 1.0 / (1.0 + ratio**2).sqrt()
        else:
            alpha = scheduler.alphas_cumprod[t].double().sqrt()
        alpha, sigma = (float(v) * np.ones((8, 1)) for v in (alpha, (1.0 - alpha**2).sqrt()))
        x_t = x.numpy() * (alpha if name in IN_SIGMA else 1.0)
        eps = (x_t - alpha * mixture(x_t, alpha, sigma)) / sigma
        if name in IN_SIGMA:
            scheduler.scale_model_input(x, t)
        x = scheduler.step(torch.from_numpy(eps), t, x).prev_sample.double()
    return x.numpy()


def end_with(unet, name, steps):
    """With diffusers' own network, in single precision."""
    first = torch.from_numpy(noise(3, shape=(8, 8, 1))).permute(0, 3, 1, 2)
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    scheduler, x = ready(name, steps, first, betas)
    for index, t in enumerate(scheduler.timesteps):
        draws(scheduler, torch.from_numpy(added_noise(index, (3, 8, 8, 1))).permute(0, 3, 1, 2).float())
        x = x.float()
        with torch.no_grad():
            eps = unet(scheduler.scale_model_input(x, t), t).sample
        x = scheduler.step(eps, t, x).prev_sample
    return x.permute(0, 2, 3, 1).numpy()


def network():
    """diffusers' own, of the folder's weights."""
    with tempfile.TemporaryDirectory() as there:
        folder = interop.save(interop.load(OF_A_NETWORK.parent, ema=None), pathlib.Path(there, "older"))
        return diffusers.UNet2DModel.from_pretrained(folder / "unet").eval()


if __name__ == "__main__":
    np.savez(REFERENCE, **{name: np.array([end(name, n) for n in RUNS], "float32") for name in SCHEDULERS})
    unet, names = network(), [name for name in SCHEDULERS if name != "dpm_solver_singlestep"]
    np.savez(OF_A_NETWORK, **{name: np.array([end_with(unet, name, n) for n in RUNS]) for name in names})
