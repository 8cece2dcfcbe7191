"""`aihw search`."""

from __future__ import annotations

from aihw_cli.arguments import Arguments, Command, Option
from aihw_cli.commands.train import CODE, JSON, MANY, SCHEDULE, TRIALS


def search(arguments: Arguments) -> int:
    """Run the trials of a search."""
    from aihw_cli.sweeps.search import search as run

    return run(arguments)


COMMANDS = (
    Command(
        "search",
        "find good values of parameters, trial by trial",
        "aihw search [conf=NAME|FILE.yaml] KEY=interval(LOW,HIGH) ... [key=value ...] [--trials N] [--jobs N]",
        (
            (
                "aihw search 'device.dw_min=interval(1e-4,1e-2)' --trials 20",
                "one parameter, for the best accuracy",
            ),
            (
                "aihw search 'optimizer.lr=tag(log,interval(0.001,1))' device=ecram,capacitor",
                "on a log scale; names",
            ),
            (
                "aihw search 'dataset.batch_size=range(5,51,5)' seeds=3 --jobs 2",
                "the mean of three seeds counts",
            ),
            (
                "aihw search conf=my.yaml --metric test_loss",
                "what varies stands in the recipe, under search:",
            ),
            (
                "aihw resume runs/digits/search-0a1b2c3d4e5f --trials 40",
                "go on, to 40 trials in all",
            ),
        ),
        search,
        (
            TRIALS,
            Option(
                "--metric",
                "what counts: test_accuracy (default), best_test_accuracy, test_loss",
                "NAME",
            ),
            Option("--minimize", "the least value is the best (known for losses and errors)"),
            *SCHEDULE,
            CODE,
            JSON,
        ),
        (0, MANY),
        "Values are proposed by Optuna, which learns from the trials that have ended; they are ordinary run folders.",
    ),
)
