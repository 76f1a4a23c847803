"""What must hold when things go wrong: faults_client.py API_SERVER SCRATCH_FOLDER.

Starts its own servers. Needs nothing but Python's standard library.
"""
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

program, scratch = sys.argv[1:3]


def run(*words):
    return subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout


run("model", scratch + "/tiny", "8192")


started = []


class Server:
    def __init__(self, name, *options, models=("tiny",), fresh=True):
        self.workspace = os.path.join(scratch, name)
        if fresh:
            self.key, self.key_id = run("init", self.workspace).split()
        self.log = open(self.workspace + ".log", "w+")
        words = [program, "serve", self.workspace, *options]
        words += ["%s=%s/%s" % (m, scratch, m) for m in models]
        self.process = subprocess.Popen(words, stderr=self.log)
        started.append(self.process)
        self.url = self.wait_for(r"listening on (https?)://127.0.0.1:(\d+)")
        self.tls, self.port = self.url.group(1) == "https", int(self.url.group(2))

    def text(self):
        self.log.flush()
        return open(self.log.name).read()

    def wait_for(self, pattern, seconds=20):
        end = time.time() + seconds
        while time.time() < end:
            found = re.search(pattern, self.text())
            if found:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError("log never said %r:\n%s" % (pattern, self.text()))

    def worker(self):
        """The process id of the first worker."""
        end = time.time() + 20
        while time.time() < end:
            kids = open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)).read()
            for task in os.listdir("/proc/%d/task" % self.process.pid):
                kids += open("/proc/%d/task/%s/children" % (self.process.pid, task)).read()
            if kids.split():
                return int(kids.split()[0])
            time.sleep(0.02)
        raise AssertionError("no worker")

    def connect(self, timeout=30):
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout,
                                               context=ssl._create_unverified_context())
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method, path, body=None, key=None, connection=None):
        connection = connection or self.connect()
        headers = {"Authorization": "Bearer " + (key or self.key)}
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body)
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def chat(self, tokens=4, **more):
        body = {"model": "tiny", "messages": [{"role": "user", "content": "go"}],
                "max_tokens": tokens, "temperature": 0}
        body.update(more)
        return self.ask("POST", "/v1/chat/completions", body)

    def ready(self):
        end = time.time() + 20
        while self.ask("GET", "/readyz").status != 200:
            assert time.time() < end, "never ready"
            time.sleep(0.02)
        return self

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(20)
        assert status == 0, "exit status %d\n%s" % (status, self.text()[-2000:])


def events(reply):
    return [json.loads(l[6:]) if l[6:12] != b"[DONE]" else "[DONE]"
            for l in reply.read().splitlines() if l.startswith(b"data: ")]


def test_worker_death():
    server = Server("death").ready()
    worker = server.worker()
    stream = server.chat(8000, stream=True, n=4)
    assert stream.status == 200 and stream.readline().startswith(b"data: ")
    whole = []
    thread = threading.Thread(target=lambda: whole.append(server.chat(8000, n=4)))
    thread.start()
    time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    got = events(stream)
    assert got[-1]["error"]["code"] == "model_failed", got[-1]
    assert all("error" not in e for e in got[:-1])
    thread.join()
    assert whole[0].status == 502 and json.load(whole[0])["error"]["code"] == "model_failed"
    assert server.chat().status == 200, "the next request waits for the next worker"
    assert server.worker() != worker
    assert "killed by signal 9" in server.text()
    server.stop()


def test_watchdog():
    server = Server("watchdog", "--watchdog", "1").ready()
    worker = server.worker()
    os.kill(worker, signal.SIGSTOP)
    reply = server.chat()
    assert reply.status == 502, reply.status
    assert "no progress for 1 seconds" in server.text()
    assert server.chat().status == 200
    server.stop()


def test_drain():
    server = Server("drain").ready()
    idle = server.connect()
    assert server.ask("GET", "/livez", connection=idle).read()
    stream = server.chat(3000, stream=True, n=2)
    assert stream.readline().startswith(b"data: ")
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    refused = server.ask("POST", "/v1/completions", {"model": "tiny", "prompt": "x"},
                         connection=idle)
    assert refused.status == 503 and refused.getheader("Retry-After")
    assert json.load(refused)["error"]["code"] == "shutting_down"
    try:
        server.ask("GET", "/livez")
        raise AssertionError("a new connection was taken")
    except ConnectionRefusedError:
        pass
    got = events(stream)
    assert got[-1] == "[DONE]" and got[-2]["choices"][0]["finish_reason"], got[-2:]
    server.stop()


def test_cut():
    server = Server("cut").ready()
    os.kill(server.worker(), signal.SIGSTOP)
    threading.Timer(0.3, lambda: server.process.send_signal(signal.SIGTERM)).start()
    threading.Timer(0.8, lambda: server.process.send_signal(signal.SIGTERM)).start()
    reply = server.chat(stream=True)  # has not begun: a status, not an event
    assert reply.status == 503 and json.load(reply)["error"]["code"] == "shutting_down"
    server.stop(0)


def test_broken_model():
    os.makedirs(scratch + "/broken")
    open(scratch + "/broken/config.json", "w").write("{\"model_type\": \"\x1b[31m\"}")
    server = Server("broken-up", "--wait", "1", models=("tiny", "broken"))
    reply = server.chat(model="broken")
    assert reply.status == 503 and int(reply.getheader("Retry-After")) > 0
    assert json.load(reply)["error"]["code"] == "model_not_ready"
    assert server.ask("GET", "/readyz").status == 503
    assert server.chat().status == 200, "its neighbour answers"
    assert "\x1b" not in server.text()
    server.stop()


def test_keys():
    server = Server("keys").ready()
    assert server.ask("GET", "/v1/models").status == 200
    second = subprocess.run([program, "serve", server.workspace, "tiny=" + scratch + "/tiny"],
                            capture_output=True, text=True)
    assert second.returncode == 1 and str(server.process.pid) in second.stderr, second.stderr
    run("revoke", server.workspace, server.key_id)
    end = time.time() + 5
    while server.ask("GET", "/v1/models").status != 401:
        assert time.time() < end, "a revoked key still works"
        time.sleep(0.1)
    assert server.key not in server.text()
    assert server.key.encode() not in open("/proc/%d/cmdline" % server.worker(), "rb").read()
    assert b"=" not in open("/proc/%d/environ" % server.worker(), "rb").read()
    fds = os.listdir("/proc/%d/fd" % server.worker())
    links = [os.readlink("/proc/%d/fd/%s" % (server.worker(), f)) for f in fds]
    assert not [l for l in links if "bastide.db" in l or "up.lock" in l], links
    server.stop()


def test_address():
    server = Server("address").ready()
    server.stop()
    refused = subprocess.run([program, "serve", server.workspace, "--host", "0.0.0.0",
                              "tiny=" + scratch + "/tiny"], capture_output=True, text=True)
    assert refused.returncode == 1 and "without TLS" in refused.stderr


def test_tls():
    names = (scratch + "/cert.pem", scratch + "/key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-out", names[0], "-keyout", names[1]], check=True,
                   capture_output=True)
    server = Server("tls", "--cert", names[0], "--key", names[1]).ready()
    assert server.tls and server.chat().status == 200
    assert events(server.chat(200, stream=True))[-1] == "[DONE]"
    server.stop()


def metric(server, name):
    text = server.ask("GET", "/metrics").read().decode()
    return float(re.search(r"^%s\{.*\} (.*)$" % name, text, re.M).group(1))


def test_overload():
    server = Server("overload", "--jobs", "4").ready()
    os.kill(server.worker(), signal.SIGSTOP)
    streams = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
    body = json.dumps({"model": "tiny", "prompt": "x", "max_tokens": 8000, "temperature": 0,
                       "stream": True, "n": 2, "logprobs": 20})
    for s in streams:
        s.sendall(("POST /v1/completions HTTP/1.1\r\nHost: x\r\napi-key: %s\r\nContent-Type: "
                   "application/json\r\nContent-Length: %d\r\n\r\n%s" % (server.key, len(body),
                                                                        body)).encode())
    time.sleep(0.3)
    full = server.chat()
    assert full.status == 429 and full.getheader("Retry-After"), full.status
    os.kill(server.worker(), signal.SIGCONT)
    # Nobody reads those four streams: they are cut, and the memory for them stays bounded.
    end = time.time() + 150
    while metric(server, "bastide_model_requests_running"):
        assert time.time() < end, "unread streams are never cut"
        time.sleep(0.2)
    status = open("/proc/%d/status" % server.process.pid).read()
    assert int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) < 200000, status
    streams[0].settimeout(10)
    reply = http.client.HTTPResponse(streams[0])
    reply.begin()
    data = reply.read()  # raises unless the last chunk is there; a chunk may end inside an event
    assert b"client_too_slow" in data[-2000:], data[-2000:]
    for event in data.split(b"\n\n")[:-1]:
        assert event.startswith(b"data: {") and event.endswith(b"}"), (event[:80], event[-80:])
    assert server.chat().status == 200
    for s in streams:  # an unread end would hold the drain for its whole time
        s.close()
    server.stop()


def test_slow_headers():
    server = Server("loris").ready()
    s = socket.create_connection(("127.0.0.1", server.port))
    s.sendall(b"GET /livez HTTP/1.1\r\n")
    begun = time.time()
    try:
        while time.time() - begun < 30:
            s.sendall(b"x: y\r\n")
            time.sleep(0.5)
    except OSError:
        pass
    assert 8 < time.time() - begun < 20, time.time() - begun
    server.stop()


failures = []


def attempt(name, test):
    begun = time.time()
    try:
        test()
        print("ok %s %.2fs" % (name, time.time() - begun), flush=True)
    except BaseException as problem:
        failures.append(name)
        import traceback
        print("FAILED %s" % name, flush=True)
        traceback.print_exception(problem)


chosen = [(n, f) for n, f in sorted(globals().items()) if n.startswith("test_")]
chosen = [c for c in chosen if len(sys.argv) < 4 or sys.argv[3] in c[0]]
beside = [threading.Thread(target=attempt, args=c) for c in chosen if c[1] is test_slow_headers]
for thread in beside:  # it mostly waits
    thread.start()
for name, test in chosen:
    if test is not test_slow_headers:
        attempt(name, test)
for thread in beside:
    thread.join()
for process in started:
    if process.poll() is None:  # of a failed test; its workers die with it
        process.kill()
sys.exit(1 if failures else 0)
