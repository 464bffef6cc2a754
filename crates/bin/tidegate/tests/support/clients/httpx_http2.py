"""Asks over HTTP/2 with httpx: one after another, all at once, with a body. Arguments: URL, file of the authority."""
import asyncio
import sys

import httpx

url, authority = sys.argv[1:]


async def at_once():
    async with httpx.AsyncClient(http2=True, verify=authority) as client:
        answers = await asyncio.gather(*(client.get(url) for _ in range(200)))
        return {(answer.status_code, answer.http_version, answer.text) for answer in answers}


with httpx.Client(http2=True, verify=authority) as client:
    said = {(answer.status_code, answer.http_version, answer.text) for answer in (client.get(url) for _ in range(20))}
    answer = client.post(url, content=b"x" * 300_000)
    said.add((answer.status_code, answer.http_version, answer.text))
print(said | asyncio.run(at_once()))
