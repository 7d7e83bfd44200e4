"""A cluster without machines: it reads the rendered texts as the nodes' programs do.

What `labcheck` asks a node is answered from that: no answer is written down for a lesson.
"""
