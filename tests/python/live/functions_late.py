"""A module that functions.py imports only when it is told to."""


def added(number):
    return number
