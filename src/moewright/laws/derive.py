"""How laws read an architecture: the one place that chooses which count a law's N is, and when a law has no answer."""

from moewright.architecture import Architecture, counts, variables
from moewright.architecture.feed_forwards import MoE
from moewright.architecture.sizes import F, N
from moewright.architecture.spec import Countable
from moewright.laws.variable import Variable


def active_params_with_embedding(architecture: Countable[N]) -> N:
    """Parameters that a token uses, input embedding and head included whatever the publisher counts."""
    return counts.active_params(architecture)


def six_active_params(architecture: Countable[N]) -> N:
    """6 N_a with embeddings: FLOPs per training token by the usual estimate."""
    return 6 * active_params_with_embedding(architecture)


def six_active_params_non_embedding(architecture: Countable[N]) -> N:
    """6 N_a without embedding and head."""
    return 6 * counts.active_params_non_embedding(architecture)


def equal_size_experts(architecture: Countable[F]) -> F | float:
    """E of a top-1 model with experts K times as wide: E / K; 1 for a dense model."""
    return variables.sparsity_liew(architecture) if architecture.moe_layers() else 1.0


def idle_share(architecture: Countable[F]) -> F | float:
    """(E - K) / E; 0 for a dense model."""
    return variables.sparsity_abnar(architecture) if architecture.moe_layers() else 0.0


def top_k_or_one(architecture: Countable[F]) -> F | float:
    """K; 1 for a dense model."""
    return variables.top_k(architecture) if architecture.moe_layers() else 1.0


def needs_moe(architecture: Architecture) -> str | None:
    """For laws whose variables describe routed experts of one kind."""
    if not architecture.moe_layers():
        return "the model is dense, and the law's variables describe routed experts"
    return needs_like_experts(architecture)


def needs_like_experts(architecture: Architecture) -> str | None:
    """For laws of MoE models that hold a dense one as a special case."""
    shapes = {_shape(moe) for _, moe in architecture.moe_layers()}
    if len(shapes) > 1:
        return "its MoE layers are unlike each other, and the law has no variable for that"
    if any(len({group.expert_size for group in moe.groups}) > 1 for _, moe in architecture.moe_layers()):
        return "experts of unlike size share a layer, and the law has no variable for that"
    return None


def needs_dense(architecture: Architecture) -> str | None:
    """For laws of dense models."""
    if architecture.moe_layers():
        return "it is a law of dense models, without a variable for sparsity; the model has routed experts"
    return None


def caveats(architecture: Architecture) -> list[str]:
    """What no law here has a variable for, in a model that the law still applies to."""
    found = []
    moe = sum(times for times, _ in architecture.moe_layers())
    if moe and moe != architecture.num_layers:
        found.append(
            f"{architecture.num_layers - moe} of {architecture.num_layers} layers are not MoE: they count in N and N_a "
            "only"
        )
    if any(layer.identity_experts for _, layer in architecture.moe_layers()):
        found.append("identity experts are left out: K counts as if every choice were a real expert")
    return found


def _shape(moe: MoE) -> tuple[object, ...]:
    shared = moe.shared.count * moe.shared.expert_size if moe.shared else 0
    return (tuple((group.count, group.expert_size, group.top_k) for group in moe.groups), shared)


# Variables that several laws share, without a law's ranges

ACTIVE_PARAMS_NON_EMBEDDING = Variable(
    "active_params",
    "N, parameters that a token uses, without embeddings",
    unit="parameters",
    derive=counts.active_params_non_embedding,
)
EQUAL_SIZE_EXPERTS = Variable(
    "num_experts",
    "E, full-size experts of a top-1 model; for other models E/K",
    unit="experts",
    derive=equal_size_experts,
    at_least=1,
)
