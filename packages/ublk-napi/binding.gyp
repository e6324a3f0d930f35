{
  "targets": [
    {
      "target_name": "ublk_napi",
      "sources": [
        "native/module.c",
        "native/arguments.c",
        "native/layouts.c",
        "native/regions.c",
        "native/ring.c",
        "native/memory.c",
        "native/crc32c.c",
        "native/files.c",
        "native/sockets.c",
        "native/watch.c"
      ],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"],
      "cflags": ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden"]
    }
  ]
}
