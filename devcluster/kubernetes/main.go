// One binary with every command that the embedded cluster needs, chosen by its first argument.
//
// It stands for what kind or a distribution ships as images: etcd, the control plane, the kubelet, kube-proxy,
// kubectl and CoreDNS, each the unchanged upstream command, imported as a Go module.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// commands run until their process ends; os.Args[0] is the command's own name by then.
var commands = map[string]func(){
	"etcd":                    func() { etcdmain.Main(os.Args) },
	"kube-apiserver":          run(apiserver.NewAPIServerCommand),
	"kube-controller-manager": run(controllermanager.NewControllerManagerCommand),
	"kube-scheduler":          run(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kube-proxy":              run(kubeproxy.NewProxyCommand),
	// Not SetupSignalContext: it works once in a process, and the kubelet's command calls it again.
	"kubelet":          run(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"kubectl":          run(kubectl.NewDefaultKubectlCommand),
	"coredns":          runCoreDNS,
	"remove-sandboxes": removeSandboxes,
}

func run(newCommand func() *cobra.Command) func() {
	return func() { os.Exit(cli.Run(newCommand())) }
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		names := make([]string, 0, len(commands))
		for name := range commands {
			names = append(names, name)
		}
		fmt.Fprintf(os.Stderr, "usage: %s COMMAND [ARGUMENT...]; commands: %s\n", os.Args[0], strings.Join(names, " "))
		os.Exit(2)
	}
	os.Args = os.Args[1:]
	commands[os.Args[0]]()
}
