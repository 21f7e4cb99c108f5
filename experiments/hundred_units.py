"""The article's third part: the same perceptron with 100 hidden units.

    python experiments/hundred_units.py

PLACEHOLDER
"""

from ten_units import train

if __name__ == "__main__":
    train(100)
