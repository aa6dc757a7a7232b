"""The HTTP API: what any program that speaks HTTP can do with messages."""

from urllib.parse import unquote

from camber import HttpEndpointCtx, Request, Response, env, http_endpoint, http_router

from .messages import by_author


@http_endpoint
async def post_message(ctx: HttpEndpointCtx, request: Request) -> Response:
    message = await request.json()
    await ctx.run_mutation(
        "sendMessage",
        body=f"Sent via HTTP endpoint: {message['body']}",
        author=message["author"],
    )
    return Response(None, status=200)


@http_endpoint
async def get_messages_by_author(ctx: HttpEndpointCtx, request: Request) -> Response:
    author = request.url.search_params.get("author")
    if author is None:
        return Response("Say whose messages: ?author=…", status=400)
    return Response.json(await ctx.run_query(by_author, author=author))


@http_endpoint
async def get_author_messages(ctx: HttpEndpointCtx, request: Request) -> Response:
    author = unquote(request.url.pathname.removeprefix("/getAuthorMessages/"))
    return Response.json(await ctx.run_query(by_author, author=author))


@http_endpoint
async def send_image(ctx: HttpEndpointCtx, request: Request) -> Response:
    # Store the image.
    storage_id = await ctx.storage.store(request)
    author = request.url.search_params.get("author")

    # Save the storage id to the messages table via a mutation.
    await ctx.run_mutation("sendMessage:sendImage", storage_id=storage_id, author=author)
    return Response(
        None,
        status=200,
        # CORS headers: e.g. https://mywebsite.com
        headers={"Access-Control-Allow-Origin": env["CLIENT_ORIGIN"], "Vary": "origin"},
    )


@http_endpoint
async def send_image_preflight(ctx: HttpEndpointCtx, request: Request) -> Response:
    # Make sure the necessary headers are present for this to be a valid pre-flight request.
    headers = request.headers
    if (
        headers.get("Origin") is not None
        and headers.get("Access-Control-Request-Method") is not None
        and headers.get("Access-Control-Request-Headers") is not None
    ):
        return Response(
            None,
            headers={
                "Access-Control-Allow-Origin": env["CLIENT_ORIGIN"],
                "Access-Control-Allow-Methods": "POST",
                "Access-Control-Allow-Headers": "Content-Type, Digest",
                "Access-Control-Max-Age": "86400",
            },
        )
    return Response()


http = http_router()
http.route(path="/postMessage", method="POST", handler=post_message)
http.route(path="/getMessagesByAuthor", method="GET", handler=get_messages_by_author)
http.route(path_prefix="/getAuthorMessages/", method="GET", handler=get_author_messages)
http.route(path="/sendImage", method="POST", handler=send_image)
http.route(path="/sendImage", method="OPTIONS", handler=send_image_preflight)
