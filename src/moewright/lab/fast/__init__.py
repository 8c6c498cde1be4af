"""Fast twins of the model's operations: same names, same arguments, gradients written by hand.

`lab.model.operations` defines each operation in plain torch; tests hold every twin against its definition. Which of the
two runs is decided in `lab.fast.choice`.
"""
