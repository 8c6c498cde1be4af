"""One spelling for what a spec can say in several ways."""

from moewright.architecture.feed_forwards import MoE
from moewright.architecture.spec import Architecture, Layer, repeat_compactly


def canonical(architecture: Architecture, *, merge_shared: bool = True) -> Architecture:
    """The same function of its weights with one spelling for what the spec can say in several ways.

    - Softmax over the chosen logits is the softmax over all, renormalised over the chosen; sigmoids are elementwise.
    - Groups that all compete limit nothing.
    - Shared experts run as one of their total width; with `merge_shared` that is how they are written.
    """
    rewritten: dict[int, Layer] = {}  # equal layers share one object in a large model
    layers = [
        rewritten.setdefault(id(layer), _canonical_layer(layer, merge_shared)) for layer in architecture.iter_layers()
    ]
    return architecture.model_copy(update={"layers": repeat_compactly(layers)})


def _canonical_layer(layer: Layer, merge_shared: bool) -> Layer:
    moe = layer.feed_forward
    if not isinstance(moe, MoE):
        return layer
    router = moe.router
    if router.score_after_top_k:
        normalize = router.normalize or router.score == "softmax"
        router = router.model_copy(update={"score_after_top_k": False, "normalize": normalize})
    if router.top_groups == router.num_groups:
        router = router.model_copy(update={"num_groups": 1, "top_groups": 1})
    shared = moe.shared
    if merge_shared and shared is not None:
        shared = shared.model_copy(update={"count": 1, "expert_size": shared.count * shared.expert_size})
    return layer.model_copy(update={"feed_forward": moe.model_copy(update={"router": router, "shared": shared})})
