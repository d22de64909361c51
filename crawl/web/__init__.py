"""The web, asked politely and trusted in nothing: pages and images over HTTP."""
