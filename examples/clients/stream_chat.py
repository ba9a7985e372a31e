#!/usr/bin/env python3
"""Stream an answer from an attested model with the `openai` package and a client certificate.

Two certificates make this more than TLS:

* `--server-certificate` is the one that `adyton verify URL --save-certificate FILE` wrote *after* it
  had verified the attestation report over that very certificate's key. It is the only one trusted
  here: no certificate authority can put another machine in its place.
* `--client-certificate` and `--client-key` are yours. The sidecar tells the inference server who you
  are; there is no API key.

When the sidecar restarts, its key is born anew and this client refuses it: verify again.
"""

import argparse
import os
import ssl
import sys

import openai


def tls(server_certificate, client_certificate, client_key):
    """TLS 1.3 to exactly that server, as this client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(server_certificate)
    # The attested certificate is trusted as it is, even where an authority issued it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if client_certificate:
        context.load_cert_chain(client_certificate, client_key)
    return context


def stream(client, model, prompt, max_tokens, temperature):
    """Print the answer as it comes; return the token counts."""
    chunks = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=max_tokens,
        temperature=temperature,
        stream=True,
        stream_options={"include_usage": True},
    )
    usage = None
    for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="", flush=True)
        usage = chunk.usage or usage
    print()
    return usage


def causes(error):
    """An error and what lies below it, once each: the TLS reason is often three levels down."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


def arguments():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def option(name, variable, text, default=None):
        default = os.environ.get(variable) or default
        parse.add_argument(
            name, default=default, required=default is None, help=f"{text} [environment: {variable}]"
        )

    option("--url", "MODEL_URL", "the sidecar, such as https://models.example:8443")
    option("--server-certificate", "SERVER_CERTIFICATE", "PEM written by `adyton verify --save-certificate`")
    option("--client-certificate", "CLIENT_CERTIFICATE", "your certificate (PEM)", "")
    option("--client-key", "CLIENT_KEY", "your private key (PEM)", "")
    option("--model", "MODEL", "name of the model; default: the first that the server lists", "")
    parse.add_argument("--max-tokens", type=int, default=120)
    parse.add_argument("--temperature", type=float, default=0.7)
    parse.add_argument("prompt", nargs="?", default="In the beginning")
    return parse.parse_args()


def main():
    given = arguments()
    try:
        context = tls(given.server_certificate, given.client_certificate, given.client_key or None)
    except (OSError, ssl.SSLError) as error:
        sys.exit(f"cannot use the certificates: {error}")
    client = openai.OpenAI(
        base_url=given.url.rstrip("/") + "/v1",
        api_key="none",  # the package wants one; the certificate is what counts
        http_client=openai.DefaultHttpxClient(verify=context, trust_env=False),
        max_retries=0,
    )
    try:
        model = given.model or client.models.list().data[0].id
        print(given.prompt, end="", flush=True)
        usage = stream(client, model, given.prompt, given.max_tokens, given.temperature)
    except openai.APIStatusError as error:
        sys.exit(f"\nthe server refused: HTTP {error.status_code}: {error.message}")
    except openai.APIConnectionError as error:
        sys.exit("\nno connection: " + ": ".join(dict.fromkeys(causes(error))))
    if usage:
        print(f"[{usage.prompt_tokens} tokens in, {usage.completion_tokens} out, from {model}]", file=sys.stderr)


if __name__ == "__main__":
    main()
