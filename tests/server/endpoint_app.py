"""The app that HTTP endpoints are tried on."""

APP = {
    "schema.py": """
        from camber import Schema, Table

        class messages(Table):
            author: str
            body: str

        schema = Schema(messages)
    """,
    "sendMessage.py": """
        from camber import internal_mutation

        @internal_mutation
        async def default(ctx, body: str, author: str):
            await ctx.db.insert("messages", {"body": body, "author": author})
    """,
    "m.py": """
        from camber import ConvexError, action, mutation, query

        @query
        async def count(ctx) -> int:
            return len(await ctx.db.query("messages").collect())

        @mutation
        async def add_and_fail(ctx):
            await ctx.db.insert("messages", {"body": "x", "author": "y"})
            raise ConvexError({"code": "sold_out"})

        @action
        def process_id(ctx) -> int:
            import os
            return os.getpid()
    """,
    "http.py": """
        import asyncio, logging, os, sys, time
        from camber import (
            Blob, ConvexError, FormData, Headers, Request, Response, URLSearchParams, env,
            http_endpoint, http_router,
        )

        http = http_router()

        def on(path, method="GET", **more):
            def decorate(body):
                http.route(path=path, method=method, handler=http_endpoint(body), **more)
                return body
            return decorate

        @on("/postMessage", "POST")
        async def post_message(ctx, request):
            message = await request.json()
            await ctx.run_mutation(
                "sendMessage",
                body=f"Sent via HTTP endpoint: {message['body']}",
                author=message["author"],
            )
            return Response(None, status=200)

        @on("/count")
        async def count(ctx, request):
            return Response.json(await ctx.run_query("m:count"))

        @on("/process")
        async def process(ctx, request):
            return Response.json([os.getpid(), await ctx.run_action("m:process_id")])

        @on("/half")
        async def half(ctx, request):
            await ctx.run_mutation("sendMessage", body="kept", author="x")
            raise ValueError("then it failed")

        def kind(name):
            async def body(ctx, request):
                return Response(name)
            return http_endpoint(body)

        http.route(path="/a", method="POST", handler=kind("exact POST"))
        http.route(path="/b", method="POST", handler=kind("exact POST"))
        http.route(path="/exact/a", method="GET", handler=kind("exact"))
        http.route(path_prefix="/exact/", method="GET", handler=kind("prefix"))
        http.route(path_prefix="/exact/deeper/", method="GET", handler=kind("longer prefix"))
        http.route(path_prefix="/exact/", method="PUT", handler=kind("PUT prefix"))
        http.route(path="/slash/", method="GET", handler=kind("slash"))
        http.route(path="/percent%20", method="GET", handler=kind("percent"))

        @on("/request", "POST")
        @on("/request", "PUT")
        @on("/request", "PATCH")
        @on("/request", "DELETE")
        @on("/request", "OPTIONS")
        @on("/request")
        async def show_request(ctx, request):
            return Response.json({
                "method": request.method,
                "url": str(request.url),
                "path": request.url.pathname,
                "query": [list(pair) for pair in request.url.search_params],
                "headers": [list(pair) for pair in request.headers],
                "has_body": request.body is not None,
                "text": await request.text(),
                "used": request.body_used,
                "aborted": request.signal.aborted,
            })

        @on("/bytes", "POST")
        async def show_bytes(ctx, request):
            return Response(await request.array_buffer())

        @on("/form", "POST")
        async def show_form(ctx, request):
            form = await request.form_data()
            shown = []
            for name, value in form:
                if isinstance(value, str):
                    shown.append([name, value])
                else:
                    shown.append([name, value.name, value.type, await value.text()])
            return Response.json(shown)

        @on("/pieces", "POST")
        async def pieces(ctx, request):
            size = 0
            async for chunk in request.body:
                size += len(chunk)
            return Response.json(size)

        @on("/twice", "POST")
        async def twice(ctx, request):
            await request.text()
            return Response(await request.text())

        @on("/ignore", "POST")
        async def ignore(ctx, request):
            return Response("not read")

        @on("/cookies")
        async def cookies(ctx, request):
            headers = Headers()
            headers.append("Set-Cookie", "a=1; Path=/")
            headers.append("Set-Cookie", "b=2, 3")
            headers.append("X-Twice", "1")
            headers.append("X-Twice", "2")
            return Response("ok", headers=headers)

        def answering(path, make):
            async def body(ctx, request):
                return make()
            http.route(path=path, method="GET", handler=http_endpoint(body))

        async def some(*chunks):
            for chunk in chunks:
                yield chunk

        def form():
            form = FormData()
            form.append("a", "1")
            return form

        answering("/body/none", lambda: Response())
        answering("/body/text", lambda: Response("grüße"))
        answering("/body/bytes", lambda: Response(b"\\x00\\xff"))
        answering("/body/blob", lambda: Response(Blob([b"x"], "image/png")))
        answering("/body/params", lambda: Response(URLSearchParams({"a": "1 2"})))
        answering("/body/form", lambda: Response(form()))
        answering("/body/json", lambda: Response.json({"a": [1, None, "é"]}))
        answering("/body/stream", lambda: Response(some(b"one", "two", b"", b"three")))
        answering("/body/typed", lambda: Response("{}", headers={"Content-Type": "text/x-mine"}))
        answering("/status/201", lambda: Response("made", 201))
        answering("/status/204", lambda: Response("dropped", 204))
        answering("/status/304", lambda: Response(some(b"dropped"), 304))
        answering("/status/404", lambda: Response("none", 404))
        answering("/status/599", lambda: Response(None, 599))
        answering("/status/redirect", lambda: Response.redirect("/elsewhere?a=é"))
        answering("/status/error", lambda: Response.error())

        answering("/fail/text", lambda: "text")
        answering("/fail/none", lambda: None)
        answering("/fail/status", lambda: Response(None, 600))
        answering("/fail/json", lambda: Response.json(object()))
        answering("/fail/header", lambda: Response(None, headers={"X": "a\\r\\nSet-Cookie: b=1"}))
        answering("/fail/env", lambda: Response(env["MISSING"]))

        @on("/fail/raise")
        async def fail(ctx, request):
            print("before")
            raise ValueError("boom")

        @on("/fail/convex")
        async def fail_convex(ctx, request):
            raise ConvexError({"code": "sold_out"})

        @on("/fail/nested")
        async def fail_nested(ctx, request):
            await ctx.run_mutation("m:add_and_fail")

        @on("/fail/caught")
        async def fail_caught(ctx, request):
            try:
                await ctx.run_mutation("m:add_and_fail")
            except ConvexError as error:
                return Response.json(error.data, 409)

        @on("/fail/json_body", "POST")
        async def fail_json(ctx, request):
            return Response.json(await request.json())

        def raising(path, error):
            async def body(ctx, request):
                raise error
            http.route(path=path, method="GET", handler=http_endpoint(body))

        class Own(BaseException):
            pass

        raising("/stop/exit", SystemExit(3))
        raising("/stop/interrupt", KeyboardInterrupt())
        raising("/stop/cancelled", asyncio.CancelledError())
        raising("/stop/generator", GeneratorExit())
        raising("/stop/own", Own("x"))
        raising("/stop/reset", ConnectionResetError("theirs, not ours"))

        @on("/block/sleep")
        async def block_sleep(ctx, request):
            time.sleep(60)

        @on("/block/stream")
        async def block_in_stream(ctx, request):
            async def pieces():
                yield b"one"
                time.sleep(60)
            return Response(pieces())

        @on("/block/process")
        async def block_process(ctx, request):
            import subprocess
            subprocess.run(["true"])

        @on("/block/loop")
        async def block_loop(ctx, request):
            while True:
                pass

        @on("/wait")
        async def wait(ctx, request):
            await asyncio.sleep(0)
            return Response("waited")

        @on("/log")
        async def log(ctx, request):
            print("printed", 1)
            logging.error("logged")
            return Response("ok")

        @on("/log/stream")
        async def log_in_stream(ctx, request):
            async def pieces():
                print("first")
                yield b"one"
                print("second")
            return Response(pieces())

        @on("/stream/fail")
        async def fail_in_stream(ctx, request):
            async def pieces():
                yield b"one"
                raise ValueError("in the middle")
            return Response(pieces())

        @on("/stream/wrong")
        async def wrong_stream(ctx, request):
            return Response(some(3))

        @on("/stream/used")
        async def used_stream(ctx, request):
            response = Response(some(b"x"))
            await response.text()
            return response

        @on("/stream/endless")
        async def endless(ctx, request):
            async def pieces():
                sent = 0
                try:
                    while True:
                        yield b"x" * 10_000
                        sent += 1
                finally:
                    print("stopped after", "few" if sent < 2000 else "many")
            return Response(pieces())

        @on("/stream/waiting")
        async def waiting(ctx, request):
            async def pieces():
                try:
                    yield b"one"
                    await asyncio.Event().wait()
                finally:
                    print("stream stopped")
            return Response(pieces())

        @on("/hang")
        async def hang(ctx, request):
            try:
                await asyncio.Event().wait()
            finally:
                print("stopped, aborted:", request.signal.aborted)

        MIB = 1 << 20

        @on("/large")
        async def large(ctx, request):
            size = 20 * MIB + int(request.url.search_params.get("more"))
            how = request.url.search_params.get("how")
            if how == "whole":
                return Response(b"x" * size)
            if how == "text":
                return Response("x" * size)
            async def pieces():
                rest = size
                while rest:
                    piece = min(rest, MIB)
                    rest -= piece
                    yield b"x" * piece
            return Response(pieces())
    """,
}
