"""A broker process and a client of it, with nothing but the standard library."""

import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.parse

READY_WITHIN_S = 120


class Broker:
    """A running `cmq-broker` over a data directory, on free ports."""

    def __init__(self, program, data_dir, environment=None):
        addresses = [f"--{port}-addr=127.0.0.1:0" for port in ("client", "peer", "admin")]
        self.process = subprocess.Popen(
            [program, "--data-dir", data_dir, *addresses],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.lines = []
        self.address = None
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def _read_log(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            found = re.search(r"cmq-broker serves.* client=(\S+)", line)
            if found:
                self.address = found.group(1)
                self._ready.set()
        self._ready.set()

    def wait_ready(self):
        assert self._ready.wait(READY_WITHIN_S), f"not ready in time:\n{self.log()}"
        assert self.address, f"the broker ended:\n{self.log()}"
        return self

    def wait_end(self, within_s):
        """The exit code, once the process has ended by itself."""
        code = self.process.wait(within_s)
        self._reader.join(5)
        return code

    def is_alive(self):
        return self.process.poll() is None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.wait_end(60) == 0, self.log()

    def log(self):
        return "\n".join(self.lines[-30:])

    def client(self):
        return Client(self.address)


class Client:
    """One connection. Calls return the answer as a dictionary."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address, timeout=60)

    def call(self, action, **parameters):
        form = urllib.parse.urlencode({"Action": action, **parameters})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self.connection.request("POST", "/v2/index.php", form, headers)
        return json.loads(self.connection.getresponse().read())

    def must(self, action, **parameters):
        answer = self.call(action, **parameters)
        assert answer["code"] == 0, f"{action}: {answer}"
        return answer


def until(what, condition, within_s, pause_s=0.2):
    """Waits until the condition holds; answers how long that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within_s, f"not within {within_s} s: {what}"
        time.sleep(pause_s)
    return time.monotonic() - started
