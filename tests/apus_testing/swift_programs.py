"""Runs Swift's own programs as processes of their own, all forked from this one, which has imported Swift once.

The argument is the directory of swift.conf: Swift reads policies when it is imported, from /etc/swift unless another directory was set before.
Reads one JSON request a line from standard input and answers each with a line:
    {"start": program, "arguments": [...], "log": path}  -> {"pid": ...}
    {"run": ...}, as start, but waits for the end        -> {"code": ...}
    {"stop": pid, "signal": number}                      -> {"code": ...}
It ends its children when standard input ends.
"""

import importlib
import json
import os
import signal
import sys

from swift.common import utils

MODULES = {
    "swift-proxy-server": "swift.proxy.server",
    "swift-account-server": "swift.account.server",
    "swift-container-server": "swift.container.server",
    "swift-object-server": "swift.obj.server",
    "swift-account-replicator": "swift.account.replicator",
    "swift-container-replicator": "swift.container.replicator",
    "swift-object-replicator": "swift.obj.replicator",
    "swift-account-auditor": "swift.account.auditor",
    "swift-container-auditor": "swift.container.auditor",
    "swift-object-auditor": "swift.obj.auditor",
    "swift-container-reconciler": "swift.container.reconciler",
    "swift-container-updater": "swift.container.updater",
    "swift-object-updater": "swift.obj.updater",
}


def start(program, arguments, log):
    main = importlib.import_module(MODULES[program]).main
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        # Swift's programs signal their whole process group when they end.
        os.setpgid(0, 0)
        with open(log, "ab", 0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        sys.argv = [program, *arguments]
        code = main() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main():
    utils.set_swift_dir(sys.argv[1])
    children = set()

    def wait(pid):
        _, status = os.waitpid(pid, 0)
        children.discard(pid)
        return os.waitstatus_to_exitcode(status)

    for line in sys.stdin:
        request = json.loads(line)
        if "stop" in request:
            os.kill(request["stop"], request["signal"])
            answer = {"code": wait(request["stop"])}
        else:
            program = request.get("start") or request["run"]
            pid = start(program, request["arguments"], request["log"])
            children.add(pid)
            answer = {"pid": pid} if "start" in request else {"code": wait(pid)}
        print(json.dumps(answer), flush=True)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
