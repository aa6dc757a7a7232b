"""The three endpoints."""

from camber import HttpEndpointCtx, Request, Response, http_endpoint, http_router


@http_endpoint
async def post_message(ctx: HttpEndpointCtx, request: Request) -> Response:
    message = await request.json()
    await ctx.run_mutation(
        "sendMessage", body=f"Sent via HTTP endpoint: {message['body']}", author=message["author"]
    )
    return Response(None, status=200)


@http_endpoint
async def get_messages_by_author(ctx: HttpEndpointCtx, request: Request) -> Response:
    params = request.url.search_params
    author, salt = params.get("author"), params.get("salt")
    if salt is None:
        return Response.json(await ctx.run_query("messages:by_author", author=author))
    return Response.json(await ctx.run_query("messages:by_author", author=author, salt=int(salt)))


@http_endpoint
async def increment(ctx: HttpEndpointCtx, request: Request) -> Response:
    counter = await request.json()
    value = await ctx.run_mutation("counters:increment", name=counter["name"])
    return Response.json({"value": value})


http = http_router()
http.route(path="/postMessage", method="POST", handler=post_message)
http.route(path="/getMessagesByAuthor", method="GET", handler=get_messages_by_author)
http.route(path="/increment", method="POST", handler=increment)
