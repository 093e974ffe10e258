package main

import (
	"context"
	"fmt"
	"os"
	"time"

	cri "k8s.io/cri-client/pkg"
)

// removeSandboxes stops and removes every pod sandbox of the containerd at os.Args[1] (unix:///…).
// That kills the containers, gives back their addresses (CNI DEL) and unmounts what they used.
func removeSandboxes() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: remove-sandboxes unix:///PATH")
		os.Exit(2)
	}
	runtime, err := cri.NewRemoteRuntimeService(os.Args[1], 30*time.Second, nil, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx := context.Background()
	sandboxes, err := runtime.ListPodSandbox(ctx, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	failed := false
	for _, sandbox := range sandboxes {
		for _, step := range []func(context.Context, string) error{runtime.StopPodSandbox, runtime.RemovePodSandbox} {
			if err := step(ctx, sandbox.Id); err != nil {
				fmt.Fprintln(os.Stderr, err)
				failed = true
			}
		}
	}
	if failed {
		os.Exit(1)
	}
}
