// The vCenter simulator of govmomi, with the inventory for the tests of `deploy vsphere`:
// a cluster of three hosts, DVS0 that no physical adapter leads out of, and DVS1 that has vmnic1
// of each host. Arguments: certificate, key, user, password. Prints its address. Ends with its
// standard input.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// check ends the program if something went wrong.
func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// withUplink adds DVS1. The simulator keeps no physical adapters: they are written into it.
func withUplink(ctx context.Context, at *url.URL) {
	client, err := govmomi.NewClient(ctx, at, true)
	check(err)
	finder := find.NewFinder(client.Client)
	center, err := finder.DefaultDatacenter(ctx)
	check(err)
	folders, err := center.Folders(ctx)
	check(err)
	spec := types.DVSCreateSpec{ConfigSpec: &types.VMwareDVSConfigSpec{
		DVSConfigSpec: types.DVSConfigSpec{Name: "DVS1"},
	}}
	task, err := folders.NetworkFolder.CreateDVS(ctx, spec)
	check(err)
	made, err := task.WaitForResult(ctx, nil)
	check(err)
	ref := made.Result.(types.ManagedObjectReference)
	hosts, err := finder.SetDatacenter(center).HostSystemList(ctx, "*/*")
	check(err)
	join(ctx, object.NewDistributedVirtualSwitch(client.Client, ref), hosts)
	config := simulator.Map.Get(ref).(*simulator.DistributedVirtualSwitch).Config
	for _, host := range hosts {
		self := host.Reference()
		adapter := types.DistributedVirtualSwitchHostMemberPnicSpec{PnicDevice: "vmnic1"}
		member := types.DistributedVirtualSwitchHostMember{
			Config: types.DistributedVirtualSwitchHostMemberConfigInfo{
				Host: &self,
				Backing: &types.DistributedVirtualSwitchHostMemberPnicBacking{
					PnicSpec: []types.DistributedVirtualSwitchHostMemberPnicSpec{adapter},
				},
			},
		}
		config.GetDVSConfigInfo().Host = append(config.GetDVSConfigInfo().Host, member)
	}
}

// join makes the hosts members of a distributed switch.
func join(ctx context.Context, to *object.DistributedVirtualSwitch, hosts []*object.HostSystem) {
	config := new(types.DVSConfigSpec)
	for _, host := range hosts {
		config.Host = append(config.Host, types.DistributedVirtualSwitchHostMemberConfigSpec{
			Operation: string(types.ConfigSpecOperationAdd),
			Host:      host.Reference(),
		})
	}
	task, err := to.Reconfigure(ctx, config)
	check(err)
	check(task.Wait(ctx))
}

func main() {
	pair, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	check(err)
	log.SetOutput(io.Discard)
	model := simulator.VPX()
	model.Host, model.Machine, model.Autostart = 0, 0, false
	check(model.Create())
	login := url.UserPassword(os.Args[3], os.Args[4])
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: login}
	model.Service.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server := model.Service.NewServer()
	withUplink(context.Background(), server.URL)
	fmt.Println(server.URL.Host)
	_, _ = io.Copy(io.Discard, os.Stdin)
	server.Close()
	model.Remove()
}
