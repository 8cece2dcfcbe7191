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
                "one parameter, for the best accuracy on a tenth of the training data",
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
                "aihw search conf=my.yaml --metric valid_loss",
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
                "what counts: valid_accuracy (default), best_valid_accuracy, valid_loss, or test_...",
                "NAME",
            ),
            Option(
                "--minimize",
                "the least value is the best (known for losses and errors)",
            ),
            *SCHEDULE,
            CODE,
            JSON,
        ),
        (0, MANY),
        "Values are proposed by Optuna, which learns from the trials that have ended; they are ordinary run folders.\n"
        "Trials are judged on training samples that are set aside (dataset.valid_part, 0.1 unless it is given), never\n"
        "on test data unless --metric asks for them.",
    ),
)
