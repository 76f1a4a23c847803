"""The unmodified openai SDK against a running server: openai_client.py BASE_URL KEY MODEL.

Every assertion is about the protocol and not about the model, so any model passes.
"""
import concurrent.futures
import json
import sys
import threading
import time

import openai

try:  # what the SDK itself speaks with; its name depends on the SDK's version
    import httpx
except ImportError:
    import httpx2 as httpx

base, key, model = sys.argv[1:4]
client = openai.OpenAI(base_url=base + "/v1", api_key=key, max_retries=0, timeout=60,
                       _strict_response_validation=True)
auth = {"Authorization": "Bearer " + key}
hello = [{"role": "user", "content": "hello"}]


def refused(kind, status, code, call, param=None):
    try:
        call()
    except kind as problem:
        assert problem.status_code == status, problem
        assert problem.body["code"] == code, problem.body
        assert problem.body["message"] and problem.body["type"], problem.body
        assert problem.request_id, problem
        assert param is None or problem.param == param, problem.body
        return problem
    raise AssertionError("not refused: expected %d %s" % (status, code))


def chat(**more):
    arguments = dict(model=model, messages=hello, max_tokens=8, seed=1)
    arguments.update(more)
    return client.chat.completions.create(**arguments)


def test_models():
    names = [m.id for m in client.models.list()]
    assert model in names
    one = client.models.retrieve(model)
    assert one.id == model and one.object == "model" and one.created > 0 and one.owned_by
    refused(openai.NotFoundError, 404, "model_not_found", lambda: client.models.retrieve("none"))


def test_chat():
    answer = chat()
    assert answer.object == "chat.completion" and answer.model == model and answer.id
    assert abs(answer.created - time.time()) < 60
    assert answer.system_fingerprint
    choice = answer.choices[0]
    assert choice.index == 0 and choice.message.role == "assistant"
    assert choice.finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens <= 8 and usage.prompt_tokens > 0
    assert answer._request_id == answer.id
    assert chat().choices[0].message.content == choice.message.content  # same seed, same answer
    parts = [{"role": "user", "content": [{"type": "text", "text": "hel"},
                                          {"type": "text", "text": "lo"}]}]
    assert chat(messages=parts).choices[0].message.content == choice.message.content
    replay = hello + [choice.message.to_dict(), {"role": "user", "content": "and then?"}]
    assert chat(messages=[{"role": "developer", "content": "be brief"}] + replay).choices
    assert chat(max_tokens=None, max_completion_tokens=3).usage.completion_tokens <= 3


def collect(stream):
    texts, finishes, usage, roles, order = {}, {}, None, {}, []
    for chunk in stream:
        assert chunk.object == "chat.completion.chunk"
        order.append(chunk)
        if not chunk.choices:
            assert usage is None
            usage = chunk.usage
            continue
        assert usage is None and chunk.usage is None
        for c in chunk.choices:
            assert c.index not in finishes, "content after the finish chunk"
            if c.delta.role:
                assert c.index not in roles
                roles[c.index] = c.delta.role
            else:
                assert c.index in roles, "the role comes first"
            texts[c.index] = texts.get(c.index, "") + (c.delta.content or "")
            if c.finish_reason:
                assert not c.delta.content
                finishes[c.index] = c.finish_reason
    assert len({c.id for c in order}) == 1 and len({c.created for c in order}) == 1
    return texts, finishes, usage


def test_stream_equals_whole():
    whole = chat(n=3, temperature=1.3, max_tokens=30)
    texts, finishes, usage = collect(chat(n=3, temperature=1.3, max_tokens=30, stream=True,
                                          stream_options={"include_usage": True}))
    for choice in whole.choices:
        assert texts[choice.index] == choice.message.content
        assert finishes[choice.index] == choice.finish_reason
    assert usage == whole.usage
    assert len({c.message.content for c in whole.choices}) > 1, "n answers are different"
    assert chat(temperature=1.3, max_tokens=30).choices[0].message.content == \
        whole.choices[0].message.content, "n does not change the first answer"
    _, _, usage = collect(chat(stream=True))
    assert usage is None


def raw_events(body):
    with httpx.stream("POST", base + "/v1/chat/completions", headers=auth, json=body) as reply:
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        return [line for line in reply.iter_lines() if line]


def test_stream_ends_properly():
    lines = raw_events({"model": model, "messages": hello, "max_tokens": 3, "stream": True,
                        "stream_options": {"include_usage": True}})
    assert lines[-1] == "data: [DONE]" and all(l.startswith("data: ") for l in lines)
    chunks = [json.loads(l[6:]) for l in lines[:-1]]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-2]["choices"][0]["delta"] == {} and chunks[-2]["choices"][0]["finish_reason"]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"]


def test_stop():
    text = chat(max_tokens=40, temperature=1).choices[0].message.content
    mark = text[len(text) // 2]
    for stop in (mark, ["\x01\x02 never", mark]):
        answer = chat(max_tokens=40, temperature=1, stop=stop)
        assert answer.choices[0].finish_reason == "stop"
        assert answer.choices[0].message.content == text[:text.index(mark)]
    texts, finishes, _ = collect(chat(max_tokens=40, temperature=1, stop=mark, stream=True))
    assert texts[0] == text[:text.index(mark)] and finishes[0] == "stop"


def test_chat_logprobs():
    answer = chat(logprobs=True, top_logprobs=3, temperature=0)
    entries = answer.choices[0].logprobs.content
    assert len(entries) == answer.usage.completion_tokens
    for entry in entries:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob >= entry.top_logprobs[1].logprob
        assert abs(entry.logprob - entry.top_logprobs[0].logprob) < 1e-4  # greedy
    whole = b"".join(bytes(e.bytes) for e in entries)
    assert whole.decode("utf-8", "replace") == answer.choices[0].message.content
    streamed = []
    for chunk in chat(logprobs=True, top_logprobs=3, temperature=0, stream=True):
        for c in chunk.choices:
            streamed += c.logprobs.content if c.logprobs else []
    assert streamed == entries
    assert chat().choices[0].logprobs is None


def test_sampling():
    def text(seed=None, **options):
        return chat(max_tokens=12, temperature=1, seed=seed, extra_body=options).choices[0].message.content

    greedy = chat(max_tokens=12, temperature=0).choices[0].message.content
    plain = text(5)
    for same in ({"top_k": -1}, {"min_p": 0}, {"typical_p": 1}, {"repetition_penalty": 1},
                 {"dry_multiplier": 0}, {"logit_bias": {}}, {"presence_penalty": 0}):
        assert text(5, **same) == plain, same
    assert text(random_seed=5) == plain, "Mistral's name of the seed"
    for first in ({"top_k": 1}, {"min_p": 1}, {"top_p": 0}):
        assert text(6, **first) == greedy, first
    tokens = chat(max_tokens=12, temperature=0, logprobs=True,
                  extra_body={"logit_bias": {"40": 100}}).choices[0].logprobs.content
    assert len({t.token for t in tokens}) == 1, "a bias of 100 wins"
    once = chat(max_tokens=12, temperature=0, logprobs=True, presence_penalty=2,
                frequency_penalty=2, extra_body={"dry_multiplier": 5, "dry_allowed_length": 1,
                                                 "dry_sequence_breakers": ["\\n"]})
    assert once.choices[0].logprobs.content


def test_completions():
    answer = client.completions.create(model=model, prompt="The quick", max_tokens=5, seed=2)
    assert answer.object == "text_completion" and answer.choices[0].text is not None
    assert answer.choices[0].logprobs is None
    both = client.completions.create(model=model, prompt=["The quick", "brown"], n=2, max_tokens=5,
                                     seed=2)
    assert [c.index for c in both.choices] == [0, 1, 2, 3]
    assert both.choices[0].text == answer.choices[0].text
    assert both.usage.prompt_tokens > answer.usage.prompt_tokens
    # the SDK's own type has no null finish_reason, which OpenAI's service sends here all the same
    loose = openai.OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
    streamed = "".join(c.choices[0].text for c in loose.completions.create(
        model=model, prompt="The quick", max_tokens=5, seed=2, stream=True) if c.choices)
    assert streamed == answer.choices[0].text
    ids = client.completions.create(model=model, prompt=[1, 2, 3], max_tokens=2)
    assert ids.usage.prompt_tokens == 3
    lists = client.completions.create(model=model, prompt=[[1, 2, 3], [4]], max_tokens=2)
    assert len(lists.choices) == 2 and lists.usage.prompt_tokens == 4
    default = client.completions.create(model=model, prompt="x")
    assert default.usage.completion_tokens <= 16
    logs = client.completions.create(model=model, prompt="x", max_tokens=4, logprobs=2,
                                     temperature=0).choices[0].logprobs
    assert len(logs.tokens) == len(logs.token_logprobs) == len(logs.top_logprobs) == \
        len(logs.text_offset)
    assert logs.text_offset[0] == 0 and logs.tokens[0] in logs.top_logprobs[0]


def test_refusals():
    bad = openai.BadRequestError
    wrong = openai.OpenAI(base_url=base + "/v1", api_key="bst_wrong", max_retries=0)
    refused(openai.AuthenticationError, 401, "invalid_api_key", wrong.models.list)
    refused(openai.NotFoundError, 404, "model_not_found", lambda: chat(model="none"), "model")
    for name, value, code in [
            ("temperature", 3, "invalid_value"), ("temperature", "hot", "invalid_value"),
            ("top_p", 1.5, "invalid_value"), ("n", 0, "invalid_value"),
            ("n", 9, "invalid_value"), ("max_tokens", -1, "invalid_value"),
            ("stop", ["a"] * 5, "invalid_value"), ("stop", "", "invalid_value"),
            ("seed", 0.5, "invalid_value"), ("top_logprobs", 21, "invalid_value"),
            ("top_logprobs", 2, "invalid_value"),
            ("messages", [], "invalid_value"),
            ("tools", [{"type": "function", "function": {"name": "f"}}], "unsupported_parameter"),
            ("response_format", {"type": "json_object"}, "unsupported_parameter"),
            ("presence_penalty", 2.5, "invalid_value"), ("frequency_penalty", -3, "invalid_value"),
            ("logit_bias", {"5": 101}, "invalid_value"), ("logit_bias", {"x": 1}, "invalid_value"),
            ("store", True, "unsupported_parameter"),
            ("stream_options", {"include_usage": True}, "invalid_value")]:
        refused(bad, 400, code, lambda: chat(**{name: value}), name)
    refused(bad, 400, "unknown_parameter", lambda: chat(extra_body={"temprature": 1}), "temprature")
    for name, value in [("top_k", 0.5), ("top_k", -2), ("min_p", 1.1), ("typical_p", -1),
                        ("repetition_penalty", 0), ("dry_multiplier", -1), ("dry_base", 0.5),
                        ("dry_allowed_length", 0), ("dry_penalty_last_n", -2),
                        ("dry_sequence_breakers", []), ("random_seed", "a")]:
        refused(bad, 400, "invalid_value", lambda: chat(extra_body={name: value}), name)
    try:  # only the model knows its vocabulary
        chat(logit_bias={"99999999": 1})
        raise AssertionError("a token outside the vocabulary was biased")
    except bad as error:
        assert "logit_bias" in str(error)
    refused(bad, 400, "invalid_value", lambda: chat(messages=[{"role": "robot", "content": "x"}]),
            "messages[0].role")
    refused(bad, 400, "unsupported_parameter", lambda: chat(messages=[
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]),
        "messages[0].content")
    refused(bad, 400, "invalid_value", lambda: chat(messages=hello + hello), "messages")
    refused(bad, 400, "context_length_exceeded",
            lambda: chat(messages=[{"role": "user", "content": "word " * 4000}]))
    refused(bad, 400, "context_length_exceeded", lambda: chat(
        stream=True, messages=[{"role": "user", "content": "word " * 4000}]))
    for prompt in ("", [], [[]], [-1], [10 ** 9], ["a"] * 65):
        refused(bad, 400, "invalid_value", lambda: client.completions.create(
            model=model, prompt=prompt), "prompt")
    refused(bad, 400, "unsupported_parameter", lambda: client.completions.create(
        model=model, prompt="x", echo=True), "echo")


def test_harmless_fields():
    assert chat(user="u", metadata={"a": "b"}, store=False, n=1, service_tier="auto",
                parallel_tool_calls=True, presence_penalty=0, frequency_penalty=0.0, tools=[],
                tool_choice="none", response_format={"type": "text"}, modalities=["text"],
                logit_bias={}, safety_identifier="s", prompt_cache_key="k",
                stop=None).choices


def test_plain_http():
    post = lambda **more: httpx.post(base + "/v1/chat/completions", timeout=20, **more)
    good = {"model": model, "messages": hello, "max_tokens": 2}
    assert post(json=good).status_code == 401
    assert post(json=good, headers={"Authorization": "Basic " + key}).status_code == 401
    assert post(json=good, headers={"api-key": key}).status_code == 200
    assert post(json=good, headers={"api-key": key,
                                    "Authorization": "Bearer wrong"}).status_code == 401
    assert post(content=json.dumps(good), headers=auth).status_code == 415
    both = dict(auth, **{"Content-Type": "application/json; charset=utf-8"})
    assert post(content=json.dumps(good), headers=both).status_code == 200
    for body in (b"", b"{", b"[]", b"nul", b'{"model":"a","model":"b"}', b"\xff", b"[" * 100000,
                 b'{"seed":99999999999999999999}', b'{"temperature":1e999}'):
        reply = post(content=body, headers=both)
        assert reply.status_code == 400 and reply.json()["error"]["message"], body
    large = post(content=b" " * (1 << 20) + b"{}", headers=both)
    assert large.status_code == 413 and large.json()["error"]["code"] == "request_too_large"
    assert httpx.get(base + "/v1/chat/completions", headers=auth).status_code == 405
    assert httpx.get(base + "/v1/chat/completions", headers=auth).headers["allow"] == "POST"
    for path in ("/", "/v1", "/v1/", "//v1/models", "/V1/models", "/v1/models/", "/metrics/",
                 "/v1/models%00", "/v1/%2e%2e/v1/models"):
        assert httpx.get(base + path).status_code in (400, 401), path
        assert httpx.get(base + path, headers=auth).status_code in (400, 404), path
    assert httpx.get(base + "/livez").status_code == 200
    assert httpx.get(base + "/readyz").status_code == 200
    assert httpx.head(base + "/livez").status_code == 200
    assert httpx.get(base + "/metrics").status_code == 401
    metrics = httpx.get(base + "/metrics", headers=auth).text
    assert 'bastide_model_ready{model="%s"} 1' % model in metrics
    series = {l.split("{")[0].split(" ")[0] for l in metrics.splitlines() if l[0] != "#"}
    typed = {l.split(" ")[2] for l in metrics.splitlines() if l.startswith("# TYPE")}
    assert all(any(s == t or s.startswith(t + "_") for t in typed) for s in series)
    page = httpx.get(base + "/openapi.json", headers=auth).json()
    assert set(page["paths"]["/v1/chat/completions"]) == {"post"}
    fields = page["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"][
        "application/json"]["schema"]["properties"]
    assert fields["temperature"]["maximum"] == 2 and "messages" in fields


def test_parallel():
    def one(i):
        if i % 2:
            texts, _, _ = collect(chat(seed=i, max_tokens=20, stream=True, temperature=1))
            return texts[0]
        return chat(seed=i, max_tokens=20, temperature=1).choices[0].message.content
    alone = [one(i) for i in range(24)]
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        together = list(pool.map(one, range(24)))
    assert alone == together, "neighbours do not change an answer"


def running():
    text = httpx.get(base + "/metrics", headers=auth).text
    line = [l for l in text.splitlines() if l.startswith("bastide_model_answers_running{")][0]
    return int(float(line.split(" ")[1]))


def test_disconnect():
    """Clients that leave are noticed: their answers do not go on."""
    body = {"model": model, "messages": hello, "max_tokens": 400, "temperature": 1, "n": 8}
    leaving = []
    def leave(stream):
        try:
            with httpx.stream("POST", base + "/v1/chat/completions", headers=auth, timeout=0.15,
                              json=dict(body, stream=stream)) as reply:
                next(reply.iter_raw())
        except httpx.TimeoutException:
            pass
    for i in range(12):
        leaving.append(threading.Thread(target=leave, args=(i % 2 == 0,)))
        leaving[-1].start()
    for thread in leaving:
        thread.join()
    limit = time.time() + 5
    while running() and time.time() < limit:
        time.sleep(0.1)
    assert running() == 0
    assert chat().choices


tests = [(n, f) for n, f in sorted(globals().items()) if n.startswith("test_")]
for name, test in tests:
    begun = time.time()
    test()
    print("ok %s %.2fs" % (name, time.time() - begun), flush=True)
print("%d tests passed" % len(tests))
