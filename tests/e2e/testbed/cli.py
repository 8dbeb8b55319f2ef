# SPDX-License-Identifier: Apache-2.0
"""The commands up, down, in, k beside this file: one cluster, found by CLEAT_TESTBED."""
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bed import Bed
from machine import Failure


def existing():
    run = os.environ.get("CLEAT_TESTBED")
    if not run or not (Path(run) / "state.json").exists():
        raise Failure("set CLEAT_TESTBED to the folder that `up` printed")
    return Bed(run)


def main(command, arguments):
    if command == "up":
        run = os.environ.get("CLEAT_TESTBED") or tempfile.mkdtemp(prefix="cleat-", dir="/var/tmp")
        try:
            Bed(run, nodes=int(arguments[0]) if arguments else 1).up()
        except Failure:
            if Path(run).exists() and not os.listdir(run):
                os.rmdir(run)
            raise
        print(run)
    elif command == "down":
        existing().down()
    elif command == "in":
        line = existing().enter("mount", "pid", "net") + arguments
        os.execvp(line[0], line)
    elif command == "k":
        line = existing().kubectl_command(*arguments)
        os.execvp(line[0], line)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except Failure as failure:
        sys.exit(f"testbed: {failure}")
