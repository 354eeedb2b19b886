"""The commands of `python -m batchflow`, one file each: `add_arguments(parser)`, `run(arguments)`.

They use the public face of the package, and nothing imports them but `__main__`.
"""
