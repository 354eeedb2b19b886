"""The training steps that one writes by hand who needs no metrics: what others are measured by.

Each function gives a step, which takes a batch or a list of 8 and gives its losses, and a function
that puts the weights where the model looks for them. On TensorFlow they are there all the time. On
JAX it is up to the loop: `by_hand` puts them there after each call, so that a checkpoint or a
prediction finds the model as it is; `outside` only at the end.
"""

import keras


def by_hand(net, *, in_eights=False):
    if keras.backend.backend() == "tensorflow":
        return _tensorflow(net, in_eights)
    return _jax(net, in_eights, is_outside=False)


def outside(net, *, in_eights=False):
    return _jax(net, in_eights, is_outside=True)


def _tensorflow(net, in_eights):
    import tensorflow as tf

    loss_of = keras.losses.MeanSquaredError()

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(y, net(x, training=True))
        weights = net.trainable_variables
        net.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    several = tf.function(lambda batches: [step(x, y) for x, y in batches])
    return (several if in_eights else lambda batch: step(*batch)), lambda: None


def _jax(net, in_eights, is_outside):
    import jax

    loss_of = keras.losses.MeanSquaredError()
    net.optimizer.build(net.trainable_variables)
    variables = net.trainable_variables, net.non_trainable_variables, net.optimizer.variables
    state = tuple([variable.value for variable in group] for group in variables)

    def loss_and_rest(weights, others, x, y):
        guessed, others = net.stateless_call(weights, others, x, training=True)
        return loss_of(y, guessed), others

    gradient = jax.value_and_grad(loss_and_rest, has_aux=True)

    def one(state, batch):
        weights, others, of_optimizer = state
        (loss, others), slopes = gradient(weights, others, *batch)
        weights, of_optimizer = net.optimizer.stateless_apply(of_optimizer, slopes, weights)
        return (weights, others, of_optimizer), loss

    def eight(state, batches):
        stacked = jax.tree.map(lambda *parts: jax.numpy.stack(parts), *batches)
        state, losses = jax.lax.scan(one, state, stacked)
        return state, [losses[i] for i in range(8)]

    compiled = jax.jit(eight if in_eights else one, donate_argnums=0)

    def put(values_of):
        for group, values in zip(variables, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(values_of(value))

    def step(batch):
        nonlocal state
        state, losses = compiled(state, batch)
        if not is_outside:
            put(lambda value: value)
        return losses

    def finish():
        put(jax.numpy.array)  # a copy: the next step donates its own

    return step, finish
