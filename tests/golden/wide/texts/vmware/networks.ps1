<#
.SYNOPSIS
    The VMware networks of the lab "wide" on a Windows host.
.DESCRIPTION
    Makes VMnet2, VMnet3 without DHCP and NAT; other networks stay as they are.
    A network of the lab that has VMware's NAT now, or is bridged to a real card, is never changed:
    somebody uses it, and VRRP must not get out. That is said, with status 1.
    Run it in a PowerShell that was started "as administrator":
        powershell -ExecutionPolicy Bypass -File networks.ps1
    With -Check it changes nothing and says what is missing; that needs no administrator.
    Exit status: 0 all is right, 1 something is not, 3 something is missing on this host.
#>
[CmdletBinding()]
param([switch]$Check)

Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'

$Networks = @(
    @{ Name = 'VMnet2'; Subnet = '10.9.0.0'; Mask = '255.255.255.0'; Prefix = 24; HostAddress = '10.9.0.100' }
    @{ Name = 'VMnet3'; Subnet = '10.9.8.0'; Mask = '255.255.252.0'; Prefix = 22; HostAddress = '' }
)
$Data = Join-Path $env:ProgramData 'VMware'
$Seconds = 60 # no program of VMware's is waited for longer

function Stop-With([int]$Status, [string]$Text) {
    [Console]::Error.WriteLine("networks.ps1: $Text")
    exit $Status
}

# The registry knows a network when its key has values (HKLM, the 32-bit view or the other).
function Get-Setting([string]$Name) {
    foreach ($root in 'SOFTWARE\WOW6432Node', 'SOFTWARE') {
        $path = "HKLM:\$root\VMware, Inc.\VMnetLib\VMnetConfig\$($Name.ToLower())"
        if (Test-Path -LiteralPath $path) {
            return Get-ItemProperty -LiteralPath $path
        }
    }
    return $null
}

function Get-Value($Object, [string]$Name) {
    if ($null -eq $Object) { return '' }
    $property = $Object.PSObject.Properties[$Name]
    if ($null -eq $property) { return '' }
    return [string]$property.Value
}

function Get-HostAddress([string]$Name) {
    $alias = "VMware Network Adapter $Name"
    return @(Get-NetIPAddress -InterfaceAlias $alias -AddressFamily IPv4 -ErrorAction SilentlyContinue |
        Where-Object { $_.IPAddress -notlike '169.254.*' } |
        ForEach-Object { "$($_.IPAddress)/$($_.PrefixLength)" })
}

function Test-Line([string]$File, [string]$Pattern) {
    $path = Join-Path $Data $File
    if (-not (Test-Path -LiteralPath $path)) { return $false }
    return [bool](Select-String -LiteralPath $path -Pattern $Pattern -Quiet)
}

# A network that has VMware's NAT on it.
function Test-Nat([string]$Name) {
    return Test-Line 'vmnetnat.conf' ("^\s*device\s*=\s*(\\\\\.\\)?$Name\s*$")
}

# What vmrun says of each network of VMware's: its type, by name ("nat", "bridged", "hostOnly").
# VMware Player has no vmrun, and old versions do not know the word: then there is nothing.
$Types = $null
function Get-Type([string]$Name) {
    if ($null -eq $script:Types) {
        $script:Types = @{}
        foreach ($line in @(Invoke-Vmrun)) {
            if ($line -match '^\s*\d+\s+(vmnet\d+)\s+(\w+)\s') { $script:Types[$Matches[1]] = $Matches[2] }
        }
    }
    return [string]$script:Types[$Name]
}

function Invoke-Vmrun {
    $vmrun = Join-Path (Split-Path -Parent $Program) 'vmrun.exe'
    if (-not (Test-Path -LiteralPath $vmrun)) { return }
    $said = [IO.Path]::GetTempFileName()
    try {
        $started = Start-Process -FilePath $vmrun -ArgumentList '-T', 'ws', 'listHostNetworks' -PassThru -WindowStyle Hidden -RedirectStandardOutput $said
        if ($started.WaitForExit(1000 * $Seconds)) { return [IO.File]::ReadAllLines($said) }
        Stop-Process -Id $started.Id -Force -ErrorAction SilentlyContinue
    } finally {
        Remove-Item -LiteralPath $said -Force -ErrorAction SilentlyContinue
    }
}

# One sentence for each network of the lab that somebody uses for something else. It is left alone.
function Get-Taken {
    foreach ($net in $Networks) {
        $name = $net.Name
        $type = Get-Type $name
        if ((Test-Nat $name) -or $type -eq 'nat') {
            "${name}: has VMware's NAT now, and a network with NAT is not changed: " +
                'remove its NAT in the Virtual Network Editor, or ask for a lab with another VMnet'
        }
        if ($type -eq 'bridged') {
            "${name}: is bridged to a real card, a real network, where VRRP must not get: " +
                'make it host-only in the Virtual Network Editor, or ask for a lab with another VMnet'
        }
    }
}

# One sentence for each thing that is not as the lab wants it.
function Get-Problem {
    foreach ($net in $Networks) {
        $name = $net.Name
        $setting = Get-Setting $name
        if ($null -eq $setting) {
            "${name}: there is no such network"
            continue
        }
        $subnet = Get-Value $setting 'IPSubnetAddress'
        $mask = Get-Value $setting 'IPSubnetMask'
        if ($subnet -ne $net.Subnet -or $mask -ne $net.Mask) {
            "${name}: its subnet is $subnet $mask, should be $($net.Subnet) $($net.Mask)"
        }
        if (Test-Line 'vmnetdhcp.conf' ('^\s*subnet\s+' + [regex]::Escape($net.Subnet) + '\s')) {
            "${name}: VMware's DHCP gives addresses there, should not"
        }
        $have = @(Get-HostAddress $name)
        $want = @()
        if ($net.HostAddress) { $want = @("$($net.HostAddress)/$($net.Prefix)") }
        if (($have -join ', ') -ne ($want -join ', ')) {
            $have = if ($have) { $have -join ', ' } else { 'no address' }
            $want = if ($want) { $want -join ', ' } else { 'none' }
            "${name}: this host has $have there, should have $want"
        }
    }
}

function Get-Bits([string]$Address) {
    $bytes = ([Net.IPAddress]$Address).GetAddressBytes()
    [Array]::Reverse($bytes)
    return [BitConverter]::ToUInt32($bytes, 0)
}

function Test-Overlap([string]$A, [int]$PrefixA, [string]$B, [int]$PrefixB) {
    $rest = 32 - [Math]::Min($PrefixA, $PrefixB)
    return ((Get-Bits $A) -shr $rest) -eq ((Get-Bits $B) -shr $rest)
}

# One sentence for each other network of this host that has addresses of the lab's.
function Get-Clash {
    $names = @($Networks | ForEach-Object { $_.Name })
    foreach ($root in 'SOFTWARE\WOW6432Node', 'SOFTWARE') {
        $config = "HKLM:\$root\VMware, Inc.\VMnetLib\VMnetConfig"
        if (-not (Test-Path -LiteralPath $config)) { continue }
        foreach ($key in Get-ChildItem -LiteralPath $config) {
            $subnet = Get-Value (Get-ItemProperty -LiteralPath $key.PSPath) 'IPSubnetAddress'
            if ($names -contains $key.PSChildName) { continue }
            foreach ($net in $Networks) {
                if ($subnet -eq $net.Subnet) {
                    "$($key.PSChildName) has $subnet too, which the lab needs: give it another subnet first"
                }
            }
        }
    }
    $own = @($Networks | ForEach-Object { "VMware Network Adapter $($_.Name)" })
    foreach ($there in Get-NetIPAddress -AddressFamily IPv4 -ErrorAction SilentlyContinue) {
        if ($there.PrefixLength -eq 0 -or $own -contains $there.InterfaceAlias) { continue }
        foreach ($net in $Networks) {
            if (Test-Overlap $there.IPAddress $there.PrefixLength $net.Subnet $net.Prefix) {
                "the adapter '$($there.InterfaceAlias)' has $($there.IPAddress)/$($there.PrefixLength), " +
                    "which overlaps $($net.Name) ($($net.Subnet)/$($net.Prefix)): " +
                    'disconnect it, or ask for a lab with other networks'
            }
        }
    }
}

function Show-Report {
    $problems = @(Get-Taken) + @(Get-Clash) + @(Get-Problem)
    if (-not $problems) {
        Write-Output 'all networks of the lab are there'
        exit 0
    }
    $problems | Write-Output
    return
}

function Get-Program {
    foreach ($root in 'SOFTWARE\WOW6432Node', 'SOFTWARE') {
        foreach ($product in 'VMware Workstation', 'VMware Player') {
            $key = "HKLM:\$root\VMware, Inc.\$product"
            if (-not (Test-Path -LiteralPath $key)) { continue }
            $folder = Get-Value (Get-ItemProperty -LiteralPath $key) 'InstallPath'
            foreach ($name in 'vnetlib64.exe', 'vnetlib.exe') {
                if ($folder -and (Test-Path -LiteralPath (Join-Path $folder $name))) {
                    return Join-Path $folder $name
                }
            }
        }
    }
    return $null
}

# vnetlib's exit status is no guide (some versions do nothing and say 0): the result is read back.
# One that hangs is stopped; no more is asked of it then but to start VMware's services again.
$Hung = $false
function Invoke-Vnetlib([string[]]$Words) {
    if ($script:Hung -and $Words[0] -ne 'start') { return }
    $started = Start-Process -FilePath $Program -ArgumentList (@('--') + $Words) -PassThru -WindowStyle Hidden
    if ($started.WaitForExit(1000 * $Seconds)) {
        Write-Verbose "vnetlib $($Words -join ' '): $($started.ExitCode)"
        return
    }
    $script:Hung = $true
    Stop-Process -Id $started.Id -Force -ErrorAction SilentlyContinue
    Write-Output "$Program -- $($Words -join ' ') did not end within $Seconds s and was stopped"
}

function Save-Backup {
    $folder = Join-Path $Data ('before-lvslab-' + (Get-Date -Format 'yyyyMMdd-HHmmss'))
    New-Item -ItemType Directory -Path $folder | Out-Null
    foreach ($file in 'vmnetdhcp.conf', 'vmnetnat.conf', 'netmap.conf') {
        $path = Join-Path $Data $file
        if (Test-Path -LiteralPath $path) { Copy-Item -LiteralPath $path -Destination $folder }
    }
    foreach ($root in 'SOFTWARE\WOW6432Node', 'SOFTWARE') {
        $key = "HKLM\$root\VMware, Inc.\VMnetLib"
        if (Test-Path -LiteralPath "Registry::$key") {
            $name = $root.Replace('\', '-') + '.reg'
            & reg.exe export $key (Join-Path $folder $name) /y | Out-Null
        }
    }
    Write-Output "backup: $folder"
}

function Set-Network($Net) {
    $name = $Net.Name.ToLower()
    Invoke-Vnetlib @('add', 'vnet', $name)
    Invoke-Vnetlib @('set', 'vnet', $name, 'addr', $Net.Subnet)
    Invoke-Vnetlib @('set', 'vnet', $name, 'mask', $Net.Mask)
    Invoke-Vnetlib @('remove', 'dhcp', $name)
    if ($Net.HostAddress) {
        Invoke-Vnetlib @('add', 'adapter', $name)
        Invoke-Vnetlib @('set', 'adapter', $name, 'addr', $Net.HostAddress)
    } else {
        Invoke-Vnetlib @('remove', 'adapter', $name)
    }
    Invoke-Vnetlib @('update', 'dhcp', $name)
    Invoke-Vnetlib @('update', 'adapter', $name)
}

# The host's own address is Windows' affair: it can be set without vnetlib.
function Set-HostAddress($Net) {
    $alias = "VMware Network Adapter $($Net.Name)"
    $adapter = Get-NetAdapter -Name $alias -ErrorAction SilentlyContinue
    if ($null -eq $adapter) { return }
    $want = "$($Net.HostAddress)/$($Net.Prefix)"
    $have = @(Get-HostAddress $Net.Name)
    if ($have.Count -eq 1 -and $have[0] -eq $want) { return }
    Set-NetIPInterface -InterfaceAlias $alias -AddressFamily IPv4 -Dhcp Disabled
    Get-NetIPAddress -InterfaceAlias $alias -AddressFamily IPv4 -ErrorAction SilentlyContinue |
        Remove-NetIPAddress -Confirm:$false
    New-NetIPAddress -InterfaceAlias $alias -IPAddress $Net.HostAddress -PrefixLength $Net.Prefix | Out-Null
}

$Program = Get-Program
if ($null -eq $Program) { Stop-With 3 'VMware Workstation is not installed here (no vnetlib64.exe)' }
if ($Check -or -not @(Get-Problem)) {
    Show-Report
    exit 1
}

$me = New-Object Security.Principal.WindowsPrincipal([Security.Principal.WindowsIdentity]::GetCurrent())
if (-not $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
    Stop-With 3 'start PowerShell as administrator and run this again'
}
if (Get-Process -Name 'vmware-vmx' -ErrorAction SilentlyContinue) {
    Stop-With 1 'virtual machines are running: power them off first, they would lose their networks'
}

$clashes = @(Get-Taken) + @(Get-Clash)
if ($clashes) { Stop-With 1 ($clashes -join "`n") }
Get-Problem | Write-Output
Save-Backup
Invoke-Vnetlib @('stop', 'dhcp')
Invoke-Vnetlib @('stop', 'nat')
try {
    foreach ($net in $Networks) { Set-Network $net }
} finally {
    Invoke-Vnetlib @('start', 'dhcp')
    Invoke-Vnetlib @('start', 'nat')
}
foreach ($net in $Networks) {
    if ($net.HostAddress) { Set-HostAddress $net }
}

Show-Report
Write-Output 'Not all could be set from here. Open the Virtual Network Editor as administrator and set:'
foreach ($net in $Networks) {
    $connect = if ($net.HostAddress) { "connect a host adapter ($($net.HostAddress))" } else { 'no host adapter' }
    Write-Output "  $($net.Name): host-only, no DHCP, $connect, subnet $($net.Subnet), mask $($net.Mask)"
}
exit 1
