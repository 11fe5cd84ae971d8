"""The rules, pure: commands and states go in, events and new states come out.

Each aggregate is a module with its commands, its state and two functions:

    decide(state, command, ...) -> events      raises CommandRejected
    evolve(state, event) -> state

Nothing here reads a clock, a file or a socket, so every rule can be tested in a line.
"""
